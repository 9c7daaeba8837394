"""Programs for ExecuTorch; its own runtime is the oracle."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tersor
from tersor.cli import app
from tersor.core.metrics import sqnr
from tersor.errors import InvalidInputError
from tersor.export.evidence.expected_outputs import as_text, from_text
from tersor.export.executorch import loaded, mark
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.export.executorch.program import export_pte
from tersor.export.onnx.writer import export_onnx
from tersor.export.proof.examined import examine
from tersor.frontend.capture import capture
from tests.export.executorch.models import Forms, forms, samples
from tests.export.pytorch.test_decomposed import detector

needs_executorch = pytest.mark.skipif(not loaded.is_installed(), reason="needs ExecuTorch")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return forms().export(tmp_path_factory.mktemp("programs") / "forms.pte").path


@needs_executorch
def test_the_runtime_computes_what_the_simulation_computes(path):
    x = samples()
    found = torch.from_numpy(ExecuTorchRuntime(path)(x)["output"])
    with torch.no_grad():
        assert sqnr(forms()(x), found) > 35


@needs_executorch
def test_a_softmax_between_permutations_is_right(tmp_path):
    q, x = detector(), samples()
    found = torch.from_numpy(ExecuTorchRuntime(q.export(tmp_path / "d.pte").path)(x)["output"])
    with torch.no_grad():
        assert sqnr(q(x), found) > 35


@needs_executorch
def test_a_float_network_is_written_too(tmp_path):
    model, x = Forms().eval(), samples(3)
    written = export_pte(capture(model, x), tmp_path / "float.pte")
    assert (written.inputs, written.outputs, written.opset) == (("image",), ("output",), None)
    found = ExecuTorchRuntime(written.path)(x)["output"]
    np.testing.assert_allclose(found, model(x).detach(), rtol=1e-4, atol=1e-5)


@needs_executorch
def test_it_is_verified_in_its_runtime(path):
    found = forms().verify(path, samples())
    assert found.runtime_name == "executorch"
    assert found.integer_share == 1
    assert [kernel.kernel for kernel in found.kernels] == ["XNNPACK"] * 4
    assert found.sqnr > 35
    assert found.latency is not None
    assert "runtime against simulation" in str(found)
    assert not found.exported


@needs_executorch
def test_a_file_alone_is_verified(path):
    found = tersor.verify(Forms().eval(), path, samples(), latency=False)
    assert found.runtime_name == "executorch"
    assert not found.runtime
    assert "simulation" not in str(found)


@needs_executorch
@pytest.mark.parametrize("bits", [8, 4])
def test_rows_find_their_own_ranges(tmp_path, bits):
    torch.manual_seed(0)
    layers = nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32), nn.LayerNorm(32), nn.Linear(32, 6)
    x = torch.randn(8, 5, 32) * torch.logspace(-2, 2, 5)[:, None]
    q = tersor.quantize(nn.Sequential(*layers).eval(), x, scheme="executorch-dynamic", weights=bits)
    written = q.export(tmp_path / "rows.pte", largest={"batch": 8})
    found = q.verify(written.path, x, latency=False)
    assert found.integer_share == 1
    assert found.sqnr > 60
    assert found.size_ratio < 0.8 * (bits / 8) ** 0.25


@needs_executorch
@pytest.mark.parametrize("scheme", ["executorch-xnnpack", "executorch-dynamic"])
def test_tolerances_and_diagnoses_ask_the_program(scheme):
    """ONNX files have no op for rows with ranges of their own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 6)).eval()
    x = torch.randn(32, 16)
    tight = tersor.quantize(model, data=x, scheme=scheme, tolerance=100.0)
    told = [str(record) for record in tight.records if record.step == "tolerance"]
    assert any("in the runtime on samples that were held back" in text for text in told)
    found = tersor.diagnose(model, data=x, scheme=scheme)
    assert "the file in executorch against the simulation" in str(found)
    assert not found.findings


@needs_executorch
@pytest.mark.parametrize("scheme", ["executorch-xnnpack", "executorch-dynamic"])
def test_a_table_of_words_is_stored_in_integers(tmp_path, scheme):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(2000, 32), nn.Linear(32, 8)).eval()
    words = torch.randint(0, 2000, (1, 12))
    q = tersor.quantize(model, words, scheme=scheme)
    found = q.verify(q.export(tmp_path / "table.pte").path, words, latency=False)
    assert found.size_ratio < 0.4
    assert found.sqnr > 35


@needs_executorch
def test_an_axis_stays_open_up_to_a_size(tmp_path):
    written = forms().export(tmp_path / "open.pte", largest={"batch": 4})
    runtime = ExecuTorchRuntime(written.path)
    assert runtime.inputs == {"image": ("batch", 3, 8, 8)}
    assert runtime.largest == {"batch": 4}
    x = samples(6)  # more than fit at once
    one_by_one = [runtime(image[None])["output"] for image in x]
    np.testing.assert_array_equal(runtime(x)["output"], np.concatenate(one_by_one))


@needs_executorch
@pytest.mark.parametrize(
    ("sizes", "words"), [({"depth": 4}, "'depth', which is not open"), ({"batch": 1}, "at least 2")]
)
def test_wrong_sizes_are_refused(sizes, words, tmp_path):
    with pytest.raises(InvalidInputError, match=words):
        forms().export(tmp_path / "x.pte", largest=sizes)


@needs_executorch
@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b"x" * 100])
def test_a_damaged_file_is_refused(damage, path, tmp_path):
    broken = tmp_path / "broken.pte"
    broken.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidInputError, match=r"cannot load .* write it again"):
        ExecuTorchRuntime(broken)


@needs_executorch
def test_the_command_writes_and_verifies(tmp_path):
    np.save(tmp_path / "images.npy", samples().numpy())
    command = ["quantize", "tests.export.executorch.models:Forms", "-o", tmp_path / "forms.pte"]
    options = ["--data", tmp_path / "images.npy", "--largest", "batch=4", "--json"]
    printed = CliRunner().invoke(app, [str(word) for word in command + options])
    assert printed.exit_code == 0, printed.output
    found = json.loads(printed.stdout)
    assert found["verification"]["runtime_name"] == "executorch"
    assert (tmp_path / "forms.pte").is_file()


@needs_executorch
def test_the_command_compares_a_float_file_with_a_program(path, tmp_path):
    np.save(tmp_path / "images.npy", samples().numpy())
    floating = tmp_path / "float.onnx"
    torch.manual_seed(0)
    model = Forms().eval()
    export_onnx(capture(model, samples(2)), floating)
    command = ["verify", floating, path, "--data", tmp_path / "images.npy", "--json"]
    printed = CliRunner().invoke(app, [str(word) for word in command])
    assert printed.exit_code == 0, printed.output
    found = json.loads(printed.stdout)
    assert found["runtime_name"] == "executorch"
    assert found["samples"] == 16
    (told,) = found["quantized"].values()
    outputs = torch.from_numpy(ExecuTorchRuntime(path)(samples())["output"])
    with torch.no_grad():
        expected = sqnr(model(samples()), outputs)
    assert told["sqnr_db"] == pytest.approx(expected, abs=0.01)


@needs_executorch
def test_a_program_says_what_it_computes(path, tmp_path):
    found, content = examine(path), path.read_bytes()
    assert (found.changes, found.said) == ((), "It computes what it did then, bit for bit.")
    program, sign, text = content.rpartition(mark._MARK)
    assert len(text) < 4096
    broken = tmp_path / "broken.pte"
    other = forms().network.copy()
    with torch.no_grad():
        next(x for name, x in other.module.named_parameters() if name == "head.bias").mul_(-1)
    changed = export_pte(other, tmp_path / "other.pte").path.read_bytes().rpartition(mark._MARK)[0]
    kept, _ = from_text(text.decode(), mark._digest(program))
    renewed = sign + as_text(kept, mark._digest(changed)).encode()
    for damaged, said in (
        (changed + sign + text, "sealed anew"),
        (changed + renewed, "every bit should be the same"),
        (program + sign + text[:-9], "its expected outputs are not what was written"),
    ):
        broken.write_bytes(damaged)
        assert any(said in change for change in examine(broken).changes)
        assert CliRunner().invoke(app, ["verify", str(broken)]).exit_code == 3
    broken.write_bytes(program[:99] + b"\xff" + program[100:] + sign + text)
    with pytest.raises(InvalidInputError, match=r"broken\.pte' is not what was written .*copy"):
        ExecuTorchRuntime(broken)  # which may end the process
    for damaged in (program, b""):
        broken.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match="carries no proof"):
            examine(broken)


def test_options_of_other_formats_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"opset= is for \.onnx files"):
        forms().export(tmp_path / "forms.pte", 21)
    with pytest.raises(InvalidInputError, match=r"largest=.* is for \.pte files"):
        forms().export(tmp_path / "forms.onnx", largest={"batch": 2})


def test_another_scheme_is_refused(tmp_path):
    q = tersor.quantize(Forms().eval(), data=samples())
    with pytest.raises(InvalidInputError, match="scheme='executorch-xnnpack'"):
        q.export(tmp_path / "forms.pte")


def test_without_executorch_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(loaded, "find_spec", lambda _: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'tersor\[executorch\]'"):
        forms().export(tmp_path / "forms.pte")
