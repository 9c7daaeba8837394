"""Bad input from end to end: one clear line from Python and from the command line, no file left."""

import os
import re
import resource

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import tersor
from tersor.cli import app
from tests import nets

BAD_MODELS = {
    "not_finite": r"'0\.weight' has 9 NaN or infinite values.*check the checkpoint",
    "infinite": r"'1\.running_var' has 1 NaN or infinite values",
    "half": r"half precision.*pass model\.float\(\)",
    "wrong_example": r"does not run on the example \(shapes \[\(1, 4, 12, 12\)\]\).*3 channels",
    "quantized": r"already quantized.*pass the float model",
    "quantized_by_tersor": r"already quantized.*pass the float model",
}
PLAIN = ["quantize", "tests.nets:with_example"]


def cli(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def assert_one_line(result, message):
    """Exit code 1, one line on standard error, nothing else."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert re.fullmatch(f"error: .*{message}.*\n", result.stderr), result.stderr


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_bad_model(name, tmp_path):
    model, example = getattr(nets, name)()
    with pytest.raises(tersor.TersorError, match=BAD_MODELS[name]):
        tersor.quantize(model, example)
    with pytest.raises(tersor.TersorError, match=BAD_MODELS[name]):
        tersor.inspect(model, example)
    result = cli("quantize", f"tests.nets:{name}", "-o", tmp_path / "a.onnx")
    assert_one_line(result, BAD_MODELS[name])
    assert not list(tmp_path.iterdir())


def test_a_model_without_batchnorm_works_and_says_so(tmp_path):
    result = cli("quantize", "tests.nets:without_batchnorm", "-o", tmp_path / "a.onnx")
    assert result.exit_code == 0, result.output
    assert "no BatchNorm statistics reach it" in " ".join(result.stdout.split())
    assert "2 of 2 layers" in result.stdout


def test_layers_of_one_channel_work(tmp_path):
    model, _ = nets.one_channel()
    quantized = tersor.quantize(model.eval(), torch.randn(4, 1, 12, 12))
    path = quantized.export(tmp_path / "a.onnx").path
    checked = quantized.verify(path, torch.randn(64, 1, 12, 12), latency=False)
    assert checked.sqnr > 30
    assert checked.quantized["output"].sqnr > 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheme", "tpu"], "unknown scheme 'tpu'; choose from onnxruntime-cpu"),
        (["--weights", "99"], "weights=99 bits"),
        (["--input-range", "1", "-1"], r"\(1\.0, -1\.0\) is no range"),
        (["--exclude", "*"], "nothing to quantize"),
        (["--example", "1,5,12,12"], "does not run on the example"),
        (["--data", "gone.npz"], "'gone.npz': there is no such file"),
    ],
)
def test_a_bad_option(options, message, tmp_path):
    result = cli(*PLAIN, "-o", tmp_path / "a.onnx", *options)
    assert_one_line(result, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gone.pt2", "'gone.pt2': there is no such file"),
        ("model.pth", "holds weights without"),
        ("model.txt", r"expected a \.pt2 file"),
        ("tests.gone:make", "neither tests/gone.py"),
        ("tests.nets:gone", "no function 'gone'"),
        ("tests.nets:images", "returned Tensor"),
        ("tests.nets:failing", "failed with RuntimeError: no weights"),
        ("tests.nets:plain", "the example holds no tensor"),
    ],
)
def test_a_bad_name_of_a_model(model, message, tmp_path):
    assert_one_line(cli("quantize", model, "-o", tmp_path / "a.onnx"), message)
    assert_one_line(cli("inspect", model), message)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A saved `torch.export` program."""
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    batch = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(nets.plain(), (nets.images(),), dynamic_shapes=batch)
    torch.export.save(exported, path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_program(program, share, tmp_path):
    content = program.read_bytes()
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(content[: int(share * len(content))])
    message = "is not a readable torch.export program"
    with pytest.raises(tersor.TersorError, match=message):
        tersor.load(cut)
    assert_one_line(cli("quantize", cut, "-o", tmp_path / "a.onnx"), message)
    assert [file.name for file in tmp_path.iterdir()] == ["cut.pt2"]


def test_a_missing_folder_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.api.quantize.quantize", None)  # must not be called
    result = cli(*PLAIN, "-o", tmp_path / "nowhere" / "a.onnx")
    assert_one_line(result, "nowhere/a.onnx': No such file or directory; nothing was written")
    assert_one_line(cli(*PLAIN, "-o", tmp_path), "Is a directory")
    assert_one_line(cli("demo", "-o", tmp_path / "nowhere"), "No such file or directory")


def test_a_read_only_folder_is_found_before_the_work(tmp_path, monkeypatch):
    if os.geteuid() == 0:  # whom permissions do not stop
        folder = "/proc"
        message = "cannot write '/proc/a.onnx'"
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
        message = "Permission denied; nothing was written"
    monkeypatch.setattr("tersor.api.quantize.quantize", None)
    assert_one_line(cli(*PLAIN, "-o", f"{folder}/a.onnx"), message)


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    """Files may not grow beyond a kilobyte: the system itself stops the writing halfway."""
    model, example = nets.with_example()
    quantized = tersor.quantize(model, example)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(tersor.TersorError, match="File too large; nothing was written"):
            quantized.export(tmp_path / "a.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    assert quantized.export(tmp_path / "a.onnx").path.is_file()


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    model, example = nets.with_example()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return tersor.quantize(model, example).export(path).path


def _save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 4, 12, 12), np.float32)}, r"has shape \(2, 4, 12, 12\)"),
        ({"x": np.zeros((2, 3, 12, 12), np.uint8)}, "is uint8; the model takes float32"),
        ({"x": np.full((2, 3, 12, 12), np.nan, np.float32)}, "'x' holds NaN"),
        ({"x": np.zeros((0, 3, 12, 12), np.float32)}, "at least 1"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, "the same number of samples"),
        ({}, "holds nothing"),
    ],
)
def test_bad_data(onnx_file, arrays, message, tmp_path):
    data = _save(tmp_path / "data.npz", **arrays)
    assert_one_line(cli("verify", onnx_file, onnx_file, "--data", data), message)


@pytest.mark.parametrize("name", ["data.npy", "data.npz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no array"])
def test_a_damaged_data_file(onnx_file, name, content, tmp_path):
    data = tmp_path / name
    data.write_bytes(content)
    result = cli("verify", onnx_file, onnx_file, "--data", data)
    assert_one_line(result, r"is not a readable \.npy or \.npz file")


def test_data_with_code_inside_is_not_run(onnx_file, tmp_path):
    data = tmp_path / "data.npy"
    np.save(data, np.array([print]), allow_pickle=True)
    result = cli("verify", onnx_file, onnx_file, "--data", data)
    assert_one_line(result, r"is not a readable \.npy or \.npz file.*Python objects")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 4, 12, 12), np.float32)}, r"has shape \(2, 4, 12, 12\)"),
        ({"x": np.zeros((2, 3, 9, 12), np.float32)}, r"the model takes \[any, 3, 12, 12\]"),
        ({"x": np.zeros((2, 3, 12, 12), np.int64)}, "is int64; the model takes float32"),
        ({"x": np.zeros((2, 3)), "y": np.zeros((2, 3))}, r"takes 1 input\(s\)"),
        ({"x": np.zeros((2, 3, 12, 12)), "labels": np.arange(3)}, "3 labels for 2 samples"),
        ({"x": np.zeros((2, 3), complex)}, "only real numbers and booleans"),
        ({"x": np.array(["a", "b"])}, "only real numbers and booleans"),
    ],
)
def test_data_that_does_not_fit_is_found_before_the_work(arrays, message, tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.api.quantize.quantize", None)  # must not be called
    data = _save(tmp_path / "data.npz", **arrays)
    result = cli(*PLAIN, "-o", tmp_path / "a.onnx", "--data", data)
    assert_one_line(result, message)
    assert [file.name for file in tmp_path.iterdir()] == ["data.npz"]


def test_data_that_says_it_is_huge(onnx_file, tmp_path):
    data = tmp_path / "data.npy"
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.float32))
    with data.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (1 << 40, 1 << 10)})
    result = cli("verify", onnx_file, onnx_file, "--data", data)
    assert_one_line(result, r"is not a readable \.npy or \.npz file")


def test_a_module_that_exits_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "leaves.py").write_text("import sys\ndef model():\n    sys.exit(0)\n")
    (tmp_path / "leaves_at_once.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    assert_one_line(cli("inspect", "leaves:model"), "failed with SystemExit")
    assert_one_line(cli("inspect", "leaves_at_once:model"), "SystemExit")


def test_inputs_that_are_no_tensors_and_odd_outputs(tmp_path):
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 4)

        def forward(self, x, scale, mode, nothing=None):
            y = self.fc(x.float()) * scale
            return {"": y, 1: y + 1, "1": y + 2, "a.b": y + 3, "a": {"b": y + 4}}

    quantized = tersor.quantize(Odd(), (torch.ones(2, 4, dtype=torch.bool), 2.0, "mean", None))
    written = quantized.export(tmp_path / "a.onnx")
    assert written.outputs == ("output", "output_1", "output_1_2", "a.b", "a.b_2")
    assert quantized.verify(written.path, latency=False).sqnr > 60


def test_files_that_do_not_fit_each_other(onnx_file, tmp_path):
    model, example = nets.without_batchnorm()
    other = tersor.quantize(model, example).export(tmp_path / "other.onnx").path
    assert_one_line(cli("verify", other, onnx_file), "")
    assert_one_line(cli("verify", onnx_file, tmp_path / "gone.onnx"), "no file")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(onnx_file.read_bytes()[:-500])
    assert_one_line(cli("verify", onnx_file, damaged), "onnxruntime cannot load")
