"""What a new user mistypes, and whether the message says what to do."""

import numpy as np
import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

from tersor import cli
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tests import nets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A float file, and what is wrong with others."""
    folder = tmp_path_factory.mktemp("mistakes")
    path = export_onnx(capture(nets.plain(), nets.images(8)), folder / "float.onnx").path
    (folder / "cut.onnx").write_bytes(path.read_bytes()[:1500])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "weights.pth").write_bytes(b"x")
    (folder / "no_images").mkdir()
    np.save(folder / "last.npy", nets.images(8).permute(0, 2, 3, 1).numpy())
    np.savez(folder / "few.npz", x=nets.images(8).numpy(), labels=np.arange(5))
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], domain="my")]
    graph = helper.make_graph(nodes, "g", [value("x", 1, [1, 4])], [value("y", 1, [1, 4])])
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets), folder / "own_op.onnx")
    return folder


MISTAKES = {
    "the model itself": (
        "float.onnx -o float.onnx",
        "is the float model itself",
        "float.int8.onnx",
    ),
    "no ending": ("float.onnx -o small", "would be an ONNX file", "call it small.onnx"),
    "no folder": ("float.onnx -o no/a.onnx", "cannot write", "Choose an existing folder"),
    "no model": ("nothing.onnx -o a.onnx", "there is no such file", "nothing.onnx"),
    "weights only": ("weights.pth -o a.onnx", "holds weights", "module:function"),
    "cut off": ("cut.onnx -o a.onnx", "no sound ONNX file", "copy or export it again"),
    "empty": ("empty.onnx -o a.onnx", "is empty", "export it again"),
    "own op": ("own_op.onnx -o a.onnx", "my.Frobnicate", "--custom-ops"),
    "scheme": ("float.onnx -o a.onnx --scheme onnxruntime", "unknown scheme", "onnxruntime-cpu"),
    "pattern": ("float.onnx -o a.onnx --exclude hed", "'hed'", "there are 0, 3, 8"),
    "bits": ("float.onnx -o a.onnx --weights 32", "32 bits", "2 to 16"),
    "no data": ("float.onnx -o a.onnx --data photos/", "'photos'", "no such file"),
    "no images": ("float.onnx -o a.onnx --data no_images", "holds no images", ".jpg"),
    "channels last": (
        "float.onnx -o a.onnx --data last.npy",
        "12, 12, 3]",
        "takes ['batch', 3, 12,",
    ),
    "few labels": ("float.onnx -o a.onnx --test few.npz", "5 labels for 8 samples", "one label"),
    "no module": ("nowhere:make -o a.onnx", "nowhere.py", "current folder"),
    "no function": ("tests.nets:plane -o a.onnx", "no function 'plane'", "did you mean 'plain'?"),
    "no example": ("tests.nets:plain -o a.onnx", "no tensor", "--example 1,3,224,224"),
    "idle": ("float.onnx -o a.onnx --rounding fast", "--rounding", "give --data"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_says_what_is_wrong_and_what_to_do(mistake, folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    command, what, then = MISTAKES[mistake]
    result = CliRunner().invoke(cli.app, ["quantize", *command.split()])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert what in result.stderr
    assert then in result.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_loss_without_its_module():
    command = ["train", "a.onnx", "-o", "b.onnx", "--data", "c.npy", "--loss", "cross_entropy"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 1
    assert "write it as module:function" in result.stderr
