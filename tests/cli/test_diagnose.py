"""`tersor diagnose`: words for people, JSON for scripts, and a command that can be run."""

import json
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from tersor import cli
from tests.api.patients import images

SPIKE = "tests.api.patients:spike"


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "samples.npy"
    np.save(path, images().numpy())
    return str(path)


def run(*args):
    result = CliRunner().invoke(cli.app, list(args))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_that_is_suggested_can_be_run(samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = run("diagnose", SPIKE, "--data", samples, "--rounding", "nearest", "--no-smooth")
    assert "The activations lose too much" in printed
    command = printed.splitlines()[-1].strip()
    assert command.startswith(f"tersor quantize {SPIKE} -o quantized.onnx --data ")
    assert command.endswith("--exclude head --exclude add")
    run(*shlex.split(command)[1:], "--no-verify")
    assert (tmp_path / "quantized.onnx").is_file()


def test_json_says_whether_all_is_well(data):
    found = json.loads(run("diagnose", "tests.nets:with_example", "--test", str(data), "--json"))
    assert found["healthy"] is True
    assert found["command"] is None
    assert len(found["checks"]) == 6
