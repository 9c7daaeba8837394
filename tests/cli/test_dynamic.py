"""`--dynamic`: open axes of modules on the command line."""

import onnx
import pytest
from typer.testing import CliRunner

from tersor import cli
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tests import nets

MODULE = "tests.nets:with_example"
COMMANDS = {
    "quantize": "-o a.onnx",
    "compress": "-o a.onnx --macs 0.5",
    "train": "-o a.onnx --data {data}",
    "inspect": "",
    "diagnose": "",
}


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(x) for x in arguments])


def test_the_axes_of_the_file_have_the_names(tmp_path):
    path = tmp_path / "a.onnx"
    command = ["quantize", MODULE, "-o", path, "--no-verify", "--dynamic"]
    result = run(*command, "input:0=images,2=height,3=width")
    assert result.exit_code == 0, result.output
    (given,) = onnx.load(path).graph.input
    axes = given.type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["images", 3, "height", "width"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_captures_a_module_takes_it(command, data):
    more = COMMANDS[command].format(data=data).split()
    result = run(command, MODULE, *more, "--dynamic", "picture:2=height")
    assert result.exit_code == 1
    assert "'picture', which is no input of the model; its inputs are 'input'" in result.stderr


UNREADABLE = {
    "no name": "2=height",
    "empty name": ":2=height",
    "no axis": "input:",
    "no axis name": "input:2=",
    "no number": "input:height=2",
    "negative": "input:-1=width",
    "two names": "input:2=h,2=w",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_refused_with_the_right_form(text):
    result = run("inspect", MODULE, "--dynamic", text)
    shown = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == 2
    assert ("two names" if "h,2" in text else "such as image:0=batch,2=height,3=width") in shown


def test_an_input_is_named_once():
    result = run("inspect", MODULE, "--dynamic", "input:2=h", "--dynamic", "input:3=w")
    assert result.exit_code == 1
    assert "names an input twice; give all axes of an input at once" in result.stderr


def test_a_file_says_itself_what_is_open(tmp_path):
    path = export_onnx(capture(nets.plain(), nets.images(2)), tmp_path / "float.onnx").path
    result = run("inspect", path, "--dynamic", "input:2=height")
    assert result.exit_code == 1
    assert "an ONNX file says itself which axes are open; leave it out" in result.stderr
