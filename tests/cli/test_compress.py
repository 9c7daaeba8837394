"""The command line of compression."""

import json

import onnx
import pytest
from typer.testing import CliRunner

from tersor import cli
from tersor.frontend.capture import capture
from tersor.graph.costs import costs, total
from tests import nets

MODEL = ["compress", "tests.nets:with_example"]


def invoke(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def run(*args):
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def test_half_of_the_multiplications_are_left(data, tmp_path):
    printed = json.loads(
        run(*MODEL, "-o", tmp_path / "a.onnx", "--macs", 0.5, "--data", data, "--json")
    )
    before = total(costs(capture(*nets.with_example())).values())
    assert printed["before"]["macs"] == before.macs
    assert printed["after"]["macs"] <= before.macs / 2
    assert printed["verification"]["samples"] == 70
    assert min(x["sqnr_db"] for x in printed["verification"]["runtime"].values()) > 80


def test_tables_for_people(tmp_path):
    printed = run(*MODEL, "-o", tmp_path / "a.onnx", "--parameters", 0.6, "--method", "prune")
    assert "What is left" in printed
    assert "parameters" in printed
    assert "integer kernels" not in printed


def test_what_is_left_is_quantized_by_the_same_command(data, tmp_path):
    target, asked = tmp_path / "a.onnx", ("--macs", 0.7, "--data", data, "--weights", 8)
    printed = run(*MODEL, "-o", target, *asked)
    for said in ("What is left", "compressed against float", "integer kernels"):
        assert said in printed
    found = json.loads(run(*MODEL, "-o", target, *asked, "--no-verify", "--json"))
    assert found["after"]["macs"] < found["before"]["macs"]
    stored = onnx.load(target).graph.initializer
    assert sum(x.data_type == onnx.TensorProto.INT8 for x in stored) >= 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give exactly one budget"),
        (["--macs", "0.5", "--parameters", "0.5"], "give exactly one budget"),
        (["--macs", "0"], "above 0"),
        (["--macs", "0.001"], "too small"),
        (["--macs", "0.5", "--exclude", "no_such"], "no_such"),
        (["--macs", "0.5", "--exclude", "*"], "nothing to compress"),
    ],
)
def test_what_does_not_fit_is_said(options, said, tmp_path):
    result = invoke(*MODEL, "-o", tmp_path / "a.onnx", *options)
    assert result.exit_code == 1, result.output
    assert said in result.stderr
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize("method", ["spatial", "vib"])
def test_what_is_left_is_trained(method, data, tmp_path):
    printed = run(
        *MODEL, "-o", tmp_path / "a.onnx", "--macs", 0.6, "--method", method,
        "--train", data, "--batch", 16, "--epochs", 2, "--rate", 1e-3, "--no-verify",
    )  # fmt: skip
    assert "weights trained" in printed
    assert (tmp_path / "a.onnx").exists()
