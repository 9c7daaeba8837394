"""Verdicts and limits on the command line: one line, and an exit code of its own."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tersor import cli
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tests import nets

MODEL = "tests.nets:with_example"


def run(code, *args):
    result = CliRunner().invoke(cli.app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


def largest_error(outputs, reference):
    return float((outputs - reference).abs().max())


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    """The float file, as if it were the quantized one."""
    path = tmp_path_factory.mktemp("same") / "same.onnx"
    return export_onnx(capture(*nets.with_example()), path).path


def test_a_file_that_fails_is_not_written(tmp_path, data):
    path = tmp_path / "a.onnx"
    path.write_text("what was there before")
    options = ["--test", data, "--input-range", "-5", "5", "--min-sqnr", "99"]
    result = run(3, "quantize", MODEL, "-o", path, *options)
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]
    assert f"{path} is not written for onnxruntime-cpu." in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Verdict: ")
    assert "--min-sqnr asks for 99 dB" in result.stderr
    assert "--keep-anyway writes it all the same" in result.stderr
    kept = run(3, "quantize", MODEL, "-o", path, *options, "--keep-anyway", "--json")
    printed = json.loads(kept.stdout)
    assert printed["written"]
    assert printed["bytes"] == path.stat().st_size
    assert len(printed["failures"]) == 1
    assert MODEL in printed["verification"]["verdict"]["next"]
    assert "keep-anyway" not in kept.stderr


def test_a_file_that_keeps_its_limits_is_written(tmp_path, data):
    path = tmp_path / "a.onnx"
    options = ["--test", data, "--input-range", "-5", "5", "--min-sqnr", "5", "--max-drop", "0.5"]
    result = run(0, "quantize", MODEL, "-o", path, *options)
    assert f"Wrote {path} for onnxruntime-cpu." in result.stdout
    assert path.stat().st_size > 100


def test_a_float_file_is_not_good(same, data):
    result = run(0, "verify", same, same, "--data", data)
    last = result.stdout.splitlines()[-1]
    assert last.startswith("Verdict: look: no layer runs on integers")
    assert last.endswith(f"Next: run {same}")


def test_noise_is_no_proof(same):
    printed = json.loads(run(0, "verify", same, same, "--json").stdout)
    assert not printed["on_samples"]
    assert printed["verdict"]["grade"] == "look"
    assert "noise says little" in printed["verdict"]["reason"]


def test_the_users_own_metric(same, data):
    own = ["--metric", "tests.cli.test_proving:largest_error"]
    printed = json.loads(run(0, "verify", same, same, "--data", data, *own, "--json").stdout)
    assert printed["metric"] == 0.0
    failed = run(3, "verify", same, same, "--data", data, *own, "--max-metric", "-1")
    assert "0 by the metric, and --max-metric allows -1" in failed.stderr
    assert "Verdict: bad: the metric is 0, and -1 is allowed" in failed.stdout


def test_a_limit_on_labels_needs_labels_before_the_work(tmp_path):
    np.save(tmp_path / "x.npy", nets.images(8).numpy())
    for more in (["--data", tmp_path / "x.npy"], []):
        for command in (["verify", "a.onnx", "b.onnx"], ["quantize", "a.onnx", "-o", "b.onnx"]):
            result = run(1, *command, *more, "--max-drop", "0.01")
            assert "--max-drop needs labels, and there are none" in result.stderr


@pytest.mark.parametrize("labels", [np.full(8, 0.5), np.arange(8) - 1])
def test_labels_that_are_no_classes_are_refused_before_the_work(tmp_path, labels):
    np.savez(tmp_path / "x.npz", x=nets.images(8).numpy(), labels=labels)
    given = ["--data", tmp_path / "x.npz", "--max-drop", "0.01"]
    result = run(1, "quantize", "no_such_file.onnx", "-o", tmp_path / "b.onnx", *given)
    assert "not all of them are the number of a class" in result.stderr


def test_json_names_what_was_given(same, data):
    printed = json.loads(run(0, "verify", same, same, "--data", data, "--json").stdout)
    assert printed["verdict"]["next"] == f"run {same}"
