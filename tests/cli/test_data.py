"""The command line of level 2: quantization with a few unlabelled samples."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tersor
from tersor import cli
from tersor.quant.adaround import AdaRound
from tersor.quant.block_rounding import Blocks
from tersor.quant.fast_rounding import Rounding
from tersor.quant.range_methods import Entropy
from tests import nets

MODEL = ["quantize", "tests.nets:with_example"]
IMAGES = ["--resize", "12", "--crop", "12", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]


def invoke(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def run(*args):
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of six tiny images of different sizes."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 256, (14 + number, 18, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """What the command asks of `tersor.quantize`, which is not run."""
    seen = {}

    def spy(model, **options):
        seen.update(options)
        raise tersor.TersorError("stop here")

    monkeypatch.setattr("tersor.api.quantize.quantize", spy)
    return seen


def test_a_file_of_samples_quantizes_and_verifies(data, tmp_path):
    printed = run(
        *MODEL, "-o", tmp_path / "a.onnx", "--data", data, "--weights", "4", "--bits", "8=8"
    )
    flat = " ".join(printed.split())
    assert "Verified on the samples it was quantized with" in flat
    assert "range measured on 70 samples" in flat
    assert "weights rounded for the least output error" in flat
    assert re.search(r"error left, median: \d?\d%", flat)
    assert "accuracy, runtime" in flat
    model, example = nets.with_example()
    same = tersor.quantize(model, example, data=nets.images(70), weights={"*": 4, "8": 8})
    checked = same.verify(tmp_path / "a.onnx", nets.images(16), latency=False)
    assert checked.sqnr > 60


def test_other_samples_verify(data, images, tmp_path):
    options = ["--data", images, *IMAGES, "--test", data, "--json"]
    printed = json.loads(run(*MODEL, "-o", tmp_path / "a.onnx", *options))
    assert printed["verification"]["samples"] == 70
    assert printed["verification"]["accuracy"]["float"] == 1.0
    assert "range measured on 6 samples" in str(printed["steps"])


def test_images_verify_a_file(images, tmp_path):
    model, example = nets.with_example()
    path = tersor.quantize(model, example).export(tmp_path / "a.onnx").path
    printed = run("verify", "tests.nets:with_example", path, "--data", images, *IMAGES)
    assert f"Verified on {images}" in printed
    assert re.search(r"samples +6 ", printed)


def test_code_gives_samples_and_the_example(tmp_path):
    """`plain` brings no example; the batch of `images` serves as one."""
    options = ["--data", "tests.nets:images", "--rounding", "nearest", "--json"]
    printed = json.loads(run("quantize", "tests.nets:plain", "-o", tmp_path / "a.onnx", *options))
    assert printed["verification"]["samples"] == nets.SHAPE[0]
    assert {step["name"]: step["done"] for step in printed["steps"]}["correct bias"] == 3


def test_a_run_that_was_stopped_goes_on(data, tmp_path, monkeypatch):
    work = tmp_path / "work"
    options = ["--data", data, "--weights", "4", "--no-verify", "--json", "--work", work]
    run(*MODEL, "-o", tmp_path / "a.onnx", *options)
    (work / "00002.safetensors").unlink()
    solved = []

    def spy(site, *args, **kwargs):
        solved.append(site.layer.name)
        return round_layer(site, *args, **kwargs)

    from tersor.quant import fast_rounding as rounding

    round_layer = rounding.round_layer
    monkeypatch.setattr(rounding, "round_layer", spy)
    run(*MODEL, "-o", tmp_path / "b.onnx", *options)
    assert solved == ["8"]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    other = invoke(*MODEL, "-o", tmp_path / "c.onnx", *options, "--seed", "1")
    assert other.exit_code == 1
    assert "other options" in other.stderr
    assert not (tmp_path / "c.onnx").exists()


@pytest.mark.parametrize(
    ("options", "rounding"),
    [
        ([], Rounding()),
        (["--rounding", "fast", "--seed", "3"], Rounding(seed=3)),
        (["--rounding", "adaround"], AdaRound()),
        (["--rounding", "adaround", "--iterations", "7"], AdaRound(iterations=7)),
        (
            ["--rounding", "blocks", "--iterations", "7", "--seed", "3"],
            Blocks(iterations=7, seed=3, start=Rounding(seed=3)),
        ),
        (["--rounding", "nearest"], None),
    ],
)
def test_solvers_by_name(options, rounding, data, asked, tmp_path):
    invoke(*MODEL, "-o", tmp_path / "a.onnx", "--data", data, *options)
    assert asked["options"] == tersor.WithData(rounding=rounding)


def test_everything_else_that_can_be_chosen(data, asked, tmp_path):
    options = ["--ranges", "entropy", "--samples", "20", "--held-back", "0.25", "--no-smooth"]
    bits = ["--weights", "4", "--bits", "0=6", "--bits", "8=8"]
    invoke(*MODEL, "-o", tmp_path / "a.onnx", "--data", data, *options, *bits, "--work", tmp_path)
    expected = tersor.WithData(activation_range=Entropy(), samples=20, held_back=0.25, smooth=None)
    assert asked["options"] == expected
    assert asked["weights"] == {"*": 4, "0": 6, "8": 8}
    assert asked["folder"] == tmp_path
    assert sum(len(batch) for batch in asked["data"]) == 20
    assert tersor.WithData().activation_range == "auto"


def test_bits_of_single_layers_need_no_data(asked, tmp_path):
    bits = ["--bits", "a=b=4", "--bits", "*=6", "--bits", "a=b=3"]
    invoke(*MODEL, "-o", tmp_path / "a.onnx", *bits)
    assert list(asked["weights"].items()) == [("*", 6), ("a=b", 3)]
    assert (asked["data"], asked["options"], asked["folder"]) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounding", "adaround"], "--rounding needs data; give --data, too"),
        (["--held-back", "0.5"], "--held-back needs data"),
        (["--no-smooth"], "--no-smooth needs data"),
        (["--work", "folder"], "--work needs data"),
        (["--resize", "12"], "need a folder of images, and none is given"),
        (["--data", "DATA", "--crop", "12"], "need a folder of images, and none is given"),
        (
            ["--data", "DATA", "--iterations", "5"],
            "--iterations has no effect with --rounding fast",
        ),
        (
            ["--data", "DATA", "--rounding", "nearest", "--work", "x"],
            "--work has no effect with --rounding nearest",
        ),
        (["--data", "DATA", "--input-range", "0", "1"], "give --data or --input-range, not both"),
        (["--data", "DATA", "--held-back", "1"], "held_back=1.0 is not possible: give a share"),
        (["--data", "DATA", "--bits", "gone=4"], "no layer or sub-module is called 'gone'"),
        (["--data", "IMAGES"], "resize pictures and crop them to that (--resize and --crop)"),
        (["--data", "DATA", "--tokenizer", "x.json"], "it is for .txt files"),
        (["--data", "DATA", "--guess"], "--guess has no effect"),
        (["--data", "IMAGES", "--mean", "123,116,103"], "divide it by 255: 0.482,0.455,0.404"),
        (
            ["--data", "IMAGES", "--crop", "13"],
            "shape (6, 3, 13, 13); the model takes [any, 3",
        ),
        (["--data", "IMAGES", "--crop", "99"], "less than crop=99; resize to at least that"),
        (
            ["--test", "IMAGES", "--crop", "13"],
            "shape (6, 3, 13, 13); the model takes [any, 3",
        ),
        (
            ["--data", "tests.nets:gone"],
            "tests.nets:gone: tests.nets has no function 'gone'; it has",
        ),
        (["--data", "tests.nets:failing"], "failed with RuntimeError: no weights"),
    ],
)
def test_an_unfit_option_is_one_line(options, message, data, images, tmp_path):
    named = {"DATA": data, "IMAGES": images}
    result = invoke(*MODEL, "-o", tmp_path / "a.onnx", *[named.get(x, x) for x in options])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--mean", "1,2", "is not one number for each"),
        ("--std", "1,0,1", "above 0"),
        ("--bits", "head", "gives no bits"),
        ("--rounding", "best", "adaround"),
        ("--iterations", "0", "greater than or equal to 1"),
    ],
)
def test_a_value_that_means_nothing_is_an_error_of_usage(option, value, message, tmp_path):
    result = invoke(*MODEL, "-o", tmp_path / "a.onnx", option, value)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_no_numbers(value, tmp_path):
    samples = nets.images(40).numpy()
    samples[35, 0, 0, 0] = value
    np.save(tmp_path / "data.npy", samples)
    result = invoke(*MODEL, "-o", tmp_path / "a.onnx", "--data", tmp_path / "data.npy")
    assert result.exit_code == 1
    assert "holds NaN or infinite values" in result.stderr


def test_bits_that_are_searched_for(data, asked, tmp_path):
    command = [*MODEL, "-o", tmp_path / "a.onnx", "--data", data, "--average-bits", "3.5"]
    assert "stop here" in invoke(*command).stderr
    model, example = nets.with_example()
    same = tersor.search_bits(model, example, data=nets.images(70), average=3.5)
    assert dict(asked["weights"]) == dict(same)
    assert asked["weights"].average <= 3.5
    assert invoke(*command, "--bits", "8=8").exit_code == 1
    assert asked["weights"]["8"] == 8


def test_bits_are_either_given_or_searched_for(data, tmp_path):
    command = [*MODEL, "-o", tmp_path / "a.onnx", "--average-bits", "3.5"]
    assert "--average-bits needs data" in invoke(*command).stderr
    both = invoke(*command, "--data", data, "--weights", "4")
    assert "give --weights or --average-bits, not both" in both.stderr
