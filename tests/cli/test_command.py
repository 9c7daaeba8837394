"""What all commands share: silence, detail, words for ranges, and warnings on standard error."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from tersor.cli import app
from tersor.cli.command import in_numbers
from tests import nets

MODEL = ["quantize", "tests.nets:with_example"]


def invoke(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.mark.parametrize("before", [True, False])
def test_quiet_prints_nothing(before, tmp_path):
    command = [*MODEL, "-o", tmp_path / "a.onnx", "--no-verify"]
    result = invoke("--quiet", *command) if before else invoke(*command, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "a.onnx").exists()


def test_quiet_keeps_errors_and_json(tmp_path):
    assert invoke("--quiet", "doctor", "--json").stdout.startswith("{")
    result = invoke("--quiet", *MODEL, "-o", tmp_path / "missing" / "a.onnx")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


def test_verbose_names_every_layer(tmp_path):
    command = [*MODEL, "-o", tmp_path / "a.onnx", "--no-verify"]
    short, long = invoke(*command), invoke("--verbose", *command)
    assert "fold, 0: 1 folded into it." in long.stdout
    assert "fold, 0: 1 folded into it." not in short.stdout
    assert "not both" in invoke("--verbose", "--quiet", *command).stderr


def test_json_says_its_version():
    assert json.loads(invoke("doctor", "--json").stdout)["schema"] == 1


def test_words_stand_for_two_numbers():
    assert in_numbers(["--input-range", "pixels"]) == ["--input-range", "0", "255"]
    assert in_numbers(["--input-range", "-1", "1", "x"]) == ["--input-range", "-1", "1", "x"]
    assert in_numbers(["pixels"]) == ["pixels"]
    assert in_numbers(["--input-range=pixels", "x"]) == ["--input-range", "0", "255", "x"]
    assert in_numbers(["--input-range=0", "1"]) == ["--input-range", "0", "1"]
    assert in_numbers(["--fix=sr=1"]) == ["--fix=sr=1"]
    result = invoke(*MODEL, "-o", "a.onnx", "--input-range", "photos")
    assert result.exit_code == 2
    assert "one of pixels and imagenet" in " ".join(result.stderr.replace("│", " ").split())


def test_the_package_is_a_command():
    found = subprocess.run(
        [sys.executable, "-m", "tersor", "--version"], capture_output=True, check=True, text=True
    )
    assert found.stdout.startswith("tersor ")


@pytest.mark.parametrize(
    ("given", "used"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")]
)
def test_idle_threads_of_a_command_sleep(given, used, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    told = {**os.environ, **given, "OMP_DISPLAY_ENV": "true"}  # printed when OpenMP is loaded
    found = subprocess.run(
        [sys.executable, "-m", "tersor", "doctor"], env=told, capture_output=True, check=True
    )
    assert f"OMP_WAIT_POLICY = '{used}'" in found.stderr.decode()


def test_samples_that_do_not_fit_are_a_warning_on_standard_error(tmp_path):
    np.save(tmp_path / "data.npy", 60 * nets.images(32).numpy() + 100)
    given = ["--data", tmp_path / "data.npy", "--rounding", "nearest", "--no-verify"]
    result = invoke(*MODEL, "-o", tmp_path / "a.onnx", *given)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: The samples are not what BatchNorm '1' expects")
    assert result.stderr.count("\n") == 1


def test_the_range_of_pictures_is_asked_for(tmp_path):
    command = ["quantize", "tests.nets:of_any_size", "--example", "1,3,32,32", "--no-verify"]
    result = invoke(*command, "-o", tmp_path / "a.onnx")
    assert result.exit_code == 1
    assert "what is the range of the pictures 'input'?" in result.stderr
    assert "--input-range pixels" in result.stderr
    assert not list(tmp_path.iterdir())
    for known in (["--guess"], ["--input-range", "imagenet"]):
        assert invoke(*command, "-o", tmp_path / "a.onnx", *known).exit_code == 0
