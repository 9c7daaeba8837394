"""How the command ends: with one line, whatever it prints to and whoever stops it."""

import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from tersor.cli import app
from tersor.export.evidence.expected_outputs import as_text
from tersor.export.evidence.seal import EXPECTED, seal
from tersor.report.tables import compared_table

ROOT = Path(__file__).parents[2]


def start(*arguments, **options):
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "tersor", *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_cannot_be_printed_is_said_in_one_line():
    with Path("/dev/full").open("w") as full, start("--version", stdout=full) as run:
        _, said = run.communicate()
    assert run.returncode == 1
    assert said.splitlines() == ["error: the result cannot be printed: No space left on device"]


def test_a_terminal_without_our_signs():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with start("doctor", stdout=subprocess.PIPE, env=environment) as run:
        shown, said = run.communicate()
    assert (run.returncode, "Traceback" in said) == (0, False)
    assert "onnxruntime" in shown


SLOW = """
import os, signal, time
from tersor.files import temporary_folder
def make():
    with temporary_folder(os.environ["FOLDER"]):
        print("made", flush=True)
        time.sleep(60)
"""


def test_sigterm_cleans_up_as_ctrl_c_does(tmp_path):
    (tmp_path / "slow_model.py").write_text(SLOW)
    (tmp_path / "kept").mkdir()
    paths = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "FOLDER": str(tmp_path / "kept")}
    with start("inspect", "slow_model:make", stdout=subprocess.PIPE, env=environment) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "made\n"
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    assert (run.returncode, said.strip().splitlines()[-1]) == (130, "error: interrupted")
    assert not list((tmp_path / "kept").iterdir())


LOADING = """
import os, signal, sys, tersor.cli
class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "tersor.api":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Interrupts())
sys.argv = ["tersor", *sys.argv[1:]]
tersor.cli.main()
"""


@pytest.mark.parametrize(
    "command", ["inspect a.onnx", "verify a.onnx b.onnx", "--quiet diagnose a"]
)
def test_sigterm_while_a_command_loads_what_it_needs(command):
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LOADING, *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "error: interrupted\n")


def test_what_a_file_says_does_not_steer_the_terminal(tmp_path):
    evil = "\x1b]0;title\x07\x9b31m"
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value], [onnx.ValueInfoProto(name="y")])
    model = onnx.helper.make_model(graph)
    text = as_text({"nothing": evil}, seal(model))
    model.metadata_props.add(key=EXPECTED, value=text)
    onnx.save(model, tmp_path / "a.onnx")
    for options in ([], ["--json"]):
        done = CliRunner().invoke(app, ["verify", str(tmp_path / "a.onnx"), *options])
        assert done.exit_code == 0
        assert "title" in done.output
        assert not set(evil[:1] + evil[-5:-3]) & set(done.output)


def test_names_with_brackets_and_control_characters():
    from rich.console import Console

    names = ("a [red]b[/]", "c\x1b[31md")
    console = Console(markup=False, width=100, file=StringIO())
    with console.capture() as shown:
        console.print(compared_table("x [/y]\x07", names, [("[z]", "1", "\x1b2")]))
    text = shown.get()
    assert "a [red]b[/]" in text
    assert "x [/y]" in text
    assert "\x1b[31md" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("command", [("verify", "a.onnx"), ("compare", "a.json", "a.json")])
def test_pipes_are_not_waited_for(command, tmp_path):
    name, *files = command
    os.mkfifo(tmp_path / files[0])
    with start(name, *(tmp_path / file for file in files)) as run:
        _, said = run.communicate(timeout=60)
    assert (run.returncode, len(said.splitlines())) == (1, 1)
    assert "a.onnx' is damaged or missing" in said or "it is no plain file" in said
