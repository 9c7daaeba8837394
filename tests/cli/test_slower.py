"""Where integers make a file slower, its weights alone are integers, or what was asked for."""

import json

import onnx
import pytest
from typer.testing import CliRunner

from tersor import cli
from tersor.export.proof import verify
from tersor.export.sessions.latency import Latency
from tersor.results.quantized import Quantized

MODEL = "tests.nets:with_example"
RANGE = ("--input-range", "-5", "5")


def run(*args, ranges=RANGE):
    result = CliRunner().invoke(cli.app, ["quantize", MODEL, "-o", *map(str, args), *ranges])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(autouse=True)
def slower(monkeypatch):
    """Every file on integers takes 1.4 times as long as the float file."""
    monkeypatch.setattr(verify, "compare_latency", lambda *_, **__: Latency(1.0, 1.4, 7))
    monkeypatch.setattr(Quantized, "slowdown", lambda *_: 1.4)


def ops(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def test_the_weights_alone_become_integers_and_that_is_told(tmp_path, data):
    path = tmp_path / "a.onnx"
    found = json.loads(run(path, "--test", data, "--json"))
    assert not ops(path) & {"QuantizeLinear", "QLinearConv"}
    stored = onnx.load(path).graph.initializer
    assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in stored)
    reasons = [refused["reason"] for refused in found["refusals"]]
    assert any("1.40 times as long as the float file" in reason for reason in reasons)
    verification = found["verification"]
    assert verification["quantized"]["output"]["sqnr_db"] > 40
    assert "integers" not in verification["verdict"]["reason"]


def test_options_that_say_nothing_about_integers_do_not_stand_in_the_way(tmp_path, data):
    path = tmp_path / "a.onnx"
    given = ("--data", data, "--samples", "16", "--held-back", "0.25", "--seed", "3")
    run(path, *given, ranges=())
    assert not ops(path) & {"QuantizeLinear", "QLinearConv"}


def test_it_is_verified_within_the_range_that_was_given(tmp_path, monkeypatch):
    assumed = []
    verified = Quantized.verify

    def verify_and_tell(self, *args, **kwargs):
        assumed.append((self.scheme.name, self.assumed))
        return verified(self, *args, **kwargs)

    monkeypatch.setattr(Quantized, "verify", verify_and_tell)
    run(tmp_path / "a.onnx")
    schemes, told = zip(*assumed, strict=True)
    assert {"onnxruntime-cpu", "onnxruntime-weights"} <= set(schemes)
    assert {tuple(x.ranges.values()) for x in told} == {((-5.0, 5.0),)}


@pytest.mark.parametrize("options", [["--every-layer"], ["--weights", "8"], ["--no-verify"]])
def test_integers_stay_if_they_are_asked_for_or_nothing_is_measured(tmp_path, options):
    path = tmp_path / "a.onnx"
    assert "for onnxruntime-cpu." in run(path, *options)
    assert "QuantizeLinear" in ops(path)


def test_a_file_that_is_not_slower_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(Quantized, "slowdown", lambda *_: 1.0)
    path = tmp_path / "a.onnx"
    assert "for onnxruntime-cpu." in run(path)
    assert "QuantizeLinear" in ops(path)
