"""What the machine has, and what is said about it."""

import json
from dataclasses import replace

import onnxruntime
from typer.testing import CliRunner

from tersor.cli import app
from tersor.export.sessions.machine import doctor


def test_versions_are_those_that_run():
    found = doctor()
    assert found.packages["onnxruntime"] == onnxruntime.__version__
    assert found.cores >= 1
    assert found.cpu


def test_advice_follows_the_kernels():
    found = replace(doctor(), features=("AVX2",), packages={"pillow": None})
    old, new = replace(found, saturates=True), replace(found, saturates=False)
    assert "saturate on this CPU" in old.advice()[0]
    assert "are exact on this CPU" in new.advice()[0]
    assert "no instructions for dot products" in old.advice()[1]
    assert old.advice()[-1] == "pillow is not installed; it reads folders of images for --data."
    assert replace(new, features=("VNNI",), packages={}).advice() == new.advice()[:1]


def test_the_command_prints_a_table_or_json():
    table = CliRunner().invoke(app, ["doctor"])
    assert table.exit_code == 0
    assert onnxruntime.__version__ in table.stdout
    printed = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert printed["saturates"] == doctor().saturates
    assert printed["advice"] == doctor().advice()
