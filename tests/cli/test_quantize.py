"""The command line: what it prints, what it writes, and how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tersor
from tersor import cli
from tersor.api import demo
from tersor.api import verify as checks
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tests import nets
from tests.export.exact.nodes import on_x86

SCRIPT = Path(sys.executable).with_name("tersor")


def run(*args):
    result = CliRunner().invoke(cli.app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, data):
    """A quantized file, and what the command printed."""
    path = tmp_path_factory.mktemp("quantized") / "a.onnx"
    options = ["--test", data, "--input-range", "-5", "5", "--json"]
    return path, run("quantize", "tests.nets:with_example", "-o", path, *options)


def test_quantize_prints_one_json_object(quantized):
    path, printed = quantized
    result = json.loads(printed)
    assert result["path"] == str(path)
    assert result["bytes"] == path.stat().st_size
    assert {step["name"]: step["done"] for step in result["steps"]}["fold"] == 2
    assert {"step", "reason", "layers"} == set(result["refusals"][0])
    verification = result["verification"]
    assert verification["samples"] == 70
    assert verification["integer_share"] == 1.0
    assert verification["runtime"]["output"]["sqnr_db"] > 30
    assert verification["accuracy"]["float"] == 1.0
    assert verification["accuracy"]["runtime"] > 0.8


def test_the_file_is_what_python_makes_of_the_model(quantized):
    path, _ = quantized
    model, example = nets.with_example()
    same = tersor.quantize(model, example, input_range=(-5.0, 5.0))
    checked = same.verify(path, nets.images(16), latency=False)
    assert checked.sqnr > 30


def test_quantize_shows_tables_and_takes_options(tmp_path):
    path = tmp_path / "a.onnx"
    options = ["--example", "1,3,12,12", "--exclude", "8", "--weights", "6", "--activations", "7"]
    options += ["--bits", "*=6"]  # the first layer as well
    scheme = ["--scheme", "dfq-paper"]
    printed = run("quantize", "tests.nets:plain", "-o", path, *options, *scheme)
    assert "What was done" in printed
    assert "What could not be done, and why" in printed
    assert "on plausible inputs; give --test for a real test" in printed
    assert "2 of 3 layers" in printed
    assert "in float: 8" in printed
    assert f"Wrote {path} for dfq-paper.\nInput 'input' was taken to lie within -" in printed
    told, verdict = printed.splitlines()[-2:]
    assert told.endswith("If real inputs do not, give --input-range or --data.")
    assert verdict.startswith("Verdict: ")
    assert "noise says little" in verdict
    weights = [w for w in _int8_tensors(path) if w.ndim > 1]
    assert len(weights) == 2
    for weight in weights:  # as far as 6 bits reach, and not as far as 5
        assert -32 <= weight.min() <= weight.max() <= 31
        assert np.abs(weight).max() > 16


def _int8_tensors(path):
    import onnx

    arrays = map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer)
    return [array.astype(int) for array in arrays if array.dtype == np.int8]


def test_quantize_without_verification(tmp_path):
    printed = run(
        "quantize", "tests.nets:with_example", "-o", tmp_path / "a.onnx", "--no-verify", "--json"
    )
    assert json.loads(printed)["verification"] is None
    assert (tmp_path / "a.onnx").is_file()


def test_inspect_lists_layers():
    printed = run("inspect", "tests.nets:with_example")
    assert "8×1×3×3" in printed
    assert "depthwise" in printed
    # Multiply-accumulates by hand: 12²·8·3·9 + 12²·8·9 + 8·5, weights and folded biases likewise.
    assert "41.5 k" in printed
    assert str(8 * 27 + 8 + 8 * 9 + 8 + 40 + 5) in printed
    assert "it is an output of the network" in printed


def test_inspect_as_json_equals_the_python_call():
    model, example = nets.with_example()
    expected = tersor.inspect(model, example).as_dict()
    printed = json.loads(run("inspect", "tests.nets:with_example", "--json"))
    assert printed == {"schema": 1, **json.loads(json.dumps(expected))}
    assert [layer["name"] for layer in printed["layers"]] == ["0", "3", "8"]
    assert printed["macs"] == sum(layer["macs"] for layer in printed["layers"])


def test_inspect_shows_what_equalization_brings():
    model, example = nets.with_example()
    with torch.no_grad():  # the function stays: the depthwise layer undoes the scales of the first
        scales = torch.logspace(-2, 2, 8)
        model[1].weight *= scales
        model[1].bias *= scales
        model[2] = torch.nn.ReLU()
        model[3].weight /= scales[:, None, None, None]
    inspection = tersor.inspect(model, example, scheme="dfq-paper")
    before, after = inspection.layers[0].imbalance, inspection.equalized[0].imbalance
    assert before > 1000
    assert after < 100


def test_verify_two_files(quantized, data, tmp_path):
    model, example = nets.with_example()
    floating = export_onnx(capture(model, example), tmp_path / "float.onnx").path
    result = json.loads(run("verify", floating, quantized[0], "--data", data, "--json"))
    assert result["samples"] == 70
    assert result["accuracy"]["float"] == 1.0
    assert result["exported"] == {}
    assert result["quantized"]["output"]["sqnr_db"] > 15


@on_x86
def test_verify_in_the_kernels_own_arithmetic(quantized, data):
    options = ("--data", data, "--exact", "--json")
    result = json.loads(run("verify", "tests.nets:plain", quantized[0], *options))
    assert result["exact"]["is_equal"]
    assert result["exact"]["samples"] == 64


def test_verify_a_file_with_the_model_that_it_came_from(quantized):
    printed = run("verify", "tests.nets:plain", quantized[0])
    assert "Verified on noise; give --data for a real test" in printed
    assert "runtime against float" in printed


def test_verify_uses_the_session_options_of_the_scheme(tmp_path, monkeypatch):
    model, example = nets.with_example()
    path = tersor.quantize(model, example, scheme="dfq-paper").export(tmp_path / "a.onnx").path
    seen = []
    verify_file = checks.verify_file

    def spy(*args, **others):
        seen.append(dict(args[-1].config))
        return verify_file(*args, **others)

    monkeypatch.setattr(checks, "verify_file", spy)
    tersor.verify(model, path, latency=False)
    assert seen == [{"session.x64quantprecision": "1"}]


def test_version_and_help():
    assert run("--version") == f"tersor {tersor.__version__}\n"
    assert all(command in run("--help") for command in ("quantize", "inspect", "verify", "demo"))
    for command in ("quantize", "inspect", "verify"):
        assert f"tersor {command} model" in run(command, "--help")
    assert "onnxruntime-vnni: the same" in run("quantize", "-h")


def test_an_unexpected_error_is_one_line_and_exit_code_2(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("tersor.api.inspect.inspect", fail)
    args = ["inspect", "tests.nets:with_example"]
    result = CliRunner().invoke(cli.app, args)
    assert result.exit_code == 2
    assert result.stdout == ""
    expected = "error: internal error, RuntimeError: two lines; run with --debug\n"
    assert result.stderr == expected
    assert isinstance(CliRunner().invoke(cli.app, [*args, "--debug"]).exception, RuntimeError)


def test_debug_shows_our_own_errors_too():
    result = CliRunner().invoke(cli.app, ["inspect", "gone.pt2", "--debug"])
    assert isinstance(result.exception, tersor.TersorError)


def test_an_interrupt_is_one_line(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tersor.api.inspect.inspect", interrupt)
    result = CliRunner().invoke(cli.app, ["inspect", "tests.nets:with_example"])
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")


def test_a_bad_shape_is_an_error_of_usage(tmp_path):
    args = ["inspect", "tests.nets:plain", "--example", "1,x"]
    result = CliRunner().invoke(cli.app, args)
    assert result.exit_code == 2
    assert "'1,x' is no shape" in result.stderr


def test_the_installed_script_fails_in_one_line():
    done = subprocess.run(  # noqa: S603
        [SCRIPT, "inspect", "tests.nets:not_finite"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: '0.weight' has 9 NaN or infinite values")
    assert done.stderr.count("\n") == 1


def test_demo_without_its_packages(monkeypatch, tmp_path):
    monkeypatch.setitem(demo.PACKAGES, "no_such_package", "no-such-package==1.0")
    result = CliRunner().invoke(cli.app, ["demo", "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr == (
        "error: the demo needs packages that are not installed: pip install no-such-package==1.0\n"
    )
    assert not list(tmp_path.iterdir())


def test_demo_on_a_smaller_network(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "efficientnet_lite0", nets.plain)
    monkeypatch.setattr(demo, "PHOTOGRAPHS", ("chelsea.png", "rocket.jpg"))
    printed = run("demo", "-o", tmp_path)
    assert "on crops of photographs" in printed
    assert "3 of 3 layers" in printed
    assert [file.name for file in tmp_path.iterdir()] == [demo.FILE]


@pytest.mark.parametrize(
    ("photograph", "classes"),
    [
        ("chelsea.png", range(281, 286)),  # the cats of ImageNet
        ("coffee.png", [504, 967, 968]),  # coffee mug, espresso, cup
        ("camera.png", [759, 732, 872]),  # reflex camera, polaroid camera, tripod
    ],
)
def test_the_network_of_the_demo_sees_what_is_there(photograph, classes):
    """So the weights and the preprocessing are right."""
    with torch.no_grad():
        scores = demo.efficientnet_lite0()(torch.stack(list(demo.crops(photograph))))
    assert set(scores.argmax(1).tolist()) <= set(classes)


def test_a_quantized_file_is_made_float_on_request(quantized, tmp_path):
    path, _ = quantized
    refused = CliRunner().invoke(cli.app, ["inspect", str(path)])
    assert refused.exit_code == 1
    assert "--dequantize" in refused.stderr
    layers = json.loads(run("inspect", path, "--dequantize", "--json"))["layers"]
    assert len(layers) == 3
    options = ["--dequantize", "--input-range", "-5", "5", "--json"]
    printed = json.loads(run("quantize", path, "-o", tmp_path / "b.onnx", *options))
    assert printed["verification"]["runtime"]["output"]["sqnr_db"] > 30


@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_the_example_of_an_integer_input_is_integers(suffix, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 3))
    tokens, free = torch.randint(7, (2, 5)), ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(model, (tokens,), dynamic_shapes=free)
    torch.export.save(program, tmp_path / "a.pt2")
    export_onnx(capture(model, tokens), tmp_path / "a.onnx")
    options = ["-o", tmp_path / "b.onnx", "--example", "2,5", "--json"]
    printed = json.loads(run("quantize", tmp_path / f"a.{suffix}", *options))
    assert printed["verification"]["runtime"]["output"]["sqnr_db"] > 30
