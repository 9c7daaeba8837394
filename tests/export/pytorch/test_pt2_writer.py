"""Programs of PyTorch; PyTorch itself is the oracle, call by call and compiled."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tersor
from tersor.cli import app
from tersor.core.metrics import sqnr
from tersor.errors import InvalidInputError, UnsupportedError
from tersor.export.proof.examined import examine
from tersor.export.pytorch.pt2_runtime import NOTES, PyTorchRuntime, has_compiler
from tests.export.executorch.models import Forms, samples

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler")


@pytest.fixture(scope="module")
def quantized():
    torch.manual_seed(0)
    return tersor.quantize(Forms().eval(), data=samples())


@pytest.fixture(scope="module")
def path(quantized, tmp_path_factory):
    return quantized.export(tmp_path_factory.mktemp("programs") / "forms.pt2").path


def rewritten(path, other, change):
    """A copy of an archive, with the content of its members changed: name → bytes."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(other, "w") as after:
        for name in before.namelist():
            content = change(name.partition("/")[2], before.read(name))
            if content is not None:
                after.writestr(zipfile.ZipInfo(name), content)
    return other


def test_pytorch_alone_computes_what_the_simulation_computes(quantized, path):
    program = torch.export.load(path)  # as users do
    with torch.no_grad():
        found = program.module()(samples())
    torch.testing.assert_close(found, quantized(samples()), rtol=0, atol=1e-6)
    stored = {x.dtype for name, x in program.state_dict.items() if name.endswith(".weight")}
    assert stored == {torch.int8}


def test_names_and_open_axes_are_kept(path):
    runtime = PyTorchRuntime(path, optimize=False)
    assert runtime.inputs == {"image": ("batch", 3, 8, 8)}
    assert runtime.outputs == ("output",)
    assert runtime(samples(3))["output"].shape == (3, 5)


@needs_compiler
def test_it_is_verified_in_inductor(quantized, path):
    found = quantized.verify(path, samples())
    assert found.runtime_name == "pytorch"
    assert found.exported["output"].sqnr > 100
    assert found.sqnr > 35
    assert found.latency is not None
    assert len(found.kernels) == 4
    assert sum(kernel.is_integer for kernel in found.kernels) >= 3


def test_without_a_compiler_it_runs_call_by_call(monkeypatch, path):
    monkeypatch.setattr("tersor.export.pytorch.pt2_runtime.has_compiler", lambda: False)
    runtime = PyTorchRuntime(path)
    assert runtime.version.endswith("call by call")
    assert {kernel.is_integer for kernel in runtime.kernels()} == {False}


@needs_compiler
def test_where_inductor_fails_the_program_runs_call_by_call(tmp_path):
    """The int8 activations of this scheme are for phones; Inductor's kernels take uint8 only."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 5)]
    model = nn.Sequential(*layers).eval()
    phone = tersor.quantize(model, samples(), scheme="executorch-xnnpack")
    proof = phone.verify(phone.export(tmp_path / "phone.pt2").path, samples(8), latency=False)
    assert proof.runtime["output"].sqnr > 100
    assert proof.integer_share == 0
    assert all("Inductor cannot compile" in kernel.reason for kernel in proof.kernels)
    assert "call by call" in PyTorchRuntime(tmp_path / "phone.pt2", optimize=False).version


def test_a_compressed_network_is_written_too(tmp_path):
    images = samples(32)
    small = tersor.compress(Forms().eval(), images[:1], macs=0.7, data=images)
    written = small.export(tmp_path / "small.pt2")
    found = torch.from_numpy(PyTorchRuntime(written.path, optimize=False)(images)["output"])
    with torch.no_grad():
        assert sqnr(small(images), found) > 100
    assert isinstance(tersor.load(written.path), tuple)


def test_a_quantized_program_is_no_float_model(path):
    with pytest.raises(UnsupportedError, match="is quantized already"):
        tersor.load(path)


def test_a_changed_program_is_told(path, tmp_path):
    assert examine(path).said == "It computes what it did then, bit for bit."

    def other_weight(name, content):
        return bytes([content[0] ^ 1, *content[1:]]) if name == "data/weights/weight_0" else content

    def other_notes(name, content):
        return content.replace(b"image", b"photo") if name == NOTES else content

    for change in (other_weight, other_notes):
        changed = rewritten(path, tmp_path / "changed.pt2", change)
        assert examine(changed).changes
        assert CliRunner().invoke(app, ["verify", str(changed)]).exit_code == 3
    bare = rewritten(
        path, tmp_path / "bare.pt2", lambda name, x: None if name.startswith("extra") else x
    )
    with pytest.raises(InvalidInputError, match="carries no proof"):
        examine(bare)
    bare.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InvalidInputError, match=r"no readable \.pt2 file"):
        examine(bare)


@pytest.mark.parametrize("notes", [b"{}", b"[]", b"{", b'{"layers": 3}'])
def test_damaged_notes_are_refused(notes, path, tmp_path):
    other = rewritten(path, tmp_path / "x.pt2", lambda name, x: notes if name == NOTES else x)
    with pytest.raises(InvalidInputError, match="write it again"):
        PyTorchRuntime(other)


def test_what_only_onnxruntime_runs_is_refused(tmp_path):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 8, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.lstm(x)[0])

    x = torch.randn(2, 5, 4)
    source = tmp_path / "lstm.onnx"
    torch.onnx.export(Recurrent().eval(), (x,), source, dynamo=True, verbose=False)
    q = tersor.quantize(source, data=x)
    with pytest.raises(UnsupportedError, match="write an ONNX file instead"):
        q.export(tmp_path / "lstm.pt2")


@pytest.mark.parametrize("option", [{"opset": 21}, {"storage": "int4"}, {"largest": {"batch": 2}}])
def test_options_of_other_formats_are_refused(option, quantized, tmp_path):
    with pytest.raises(InvalidInputError, match="leave it out"):
        quantized.export(tmp_path / "forms.pt2", **option)


def test_the_command_writes_a_program(tmp_path, path):
    np.save(tmp_path / "images.npy", samples().numpy())
    target = tmp_path / "forms.int8.pt2"
    command = ["quantize", "tests.export.executorch.models:Forms", "-o", str(target)]
    options = ["--data", str(tmp_path / "images.npy"), "--no-verify", "--json"]
    printed = CliRunner().invoke(app, command + options)
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.stdout)["written"] is True
    assert examine(target).changes == ()
    shutil.copy(path, target)
    printed = CliRunner().invoke(app, ["quantize", str(target), "-o", str(tmp_path / "x.onnx")])
    assert printed.exit_code == 1
    assert "is quantized already" in printed.stderr
