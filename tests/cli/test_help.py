"""Help that teaches: examples that can be typed as they stand, a page to read on, completion."""

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tersor import cli
from tersor.names import TARGETS
from tersor.quant.schemes import SCHEMES

ROOT = Path(__file__).parents[2]
COMMANDS = get_command(cli.app).commands


def examples(command):
    """The commands of a docstring, each on one line."""
    paragraphs = inspect.cleandoc(command.callback.__doc__).split("\n\n")
    return [" ".join(text.split()) for text in paragraphs if text.strip().startswith("tersor ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_parse(name):
    found = examples(COMMANDS[name])
    assert len(found) >= 2
    used = set()
    for line in found:
        program, command, *arguments = shlex.split(line)
        used.add(command)
        assert program == "tersor"
        with COMMANDS[command].make_context(command, list(arguments)) as context:
            assert set(context.params) == {p.name for p in COMMANDS[command].params} - {"help"}
    assert name in used


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_examples_and_a_page_that_exists(name):
    result = CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert all(line in shown for line in examples(COMMANDS[name]))
    pages = re.findall(r"docs/\w+\.md", shown)
    assert pages
    assert all((ROOT / page).is_file() for page in pages)


def quick(*arguments, **environment):
    """What the command line prints, which must not wait for PyTorch."""
    code = """
import sys
sys.modules["torch"] = None  # whoever imports it fails
sys.argv[0] = "tersor"
from tersor.cli import main
main()
"""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Error" not in done.stderr
    return done.stdout


def complete(line):
    """What a shell is offered behind this line."""
    words = str(len(line.split(" ")) - 1)
    asked = {"_TERSOR_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": words}
    return quick(**asked).split()


def test_a_shell_completes_commands_schemes_and_choices_without_pytorch():
    assert "diagnose" in complete("tersor dia")
    assert set(complete("tersor quantize a.onnx --scheme ")) == set(SCHEMES)
    assert complete("tersor quantize a.onnx --rounding ada") == ["adaround"]


def test_help_comes_without_pytorch():
    assert "diagnose" in quick("--help")
    assert "onnxruntime-vnni" in quick("quantize", "--help")


def test_the_words_are_those_of_the_schemes():
    assert {name: scheme.summary for name, scheme in SCHEMES.items()} == TARGETS
