"""The command line of level 3: training."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import tersor
from tersor import cli
from tersor.quant.scheme import FewBits
from tests import nets

MODEL = ["train", "tests.nets:with_example"]
BITS = ["--weights", "4", "--activations", "4", "--json"]
FEW = [*BITS, "--batch", "16"]


def invoke(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def run(*args):
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


def numbers(printed):
    """What the record of the training counts."""
    (step,) = [step for step in printed["steps"] if step["name"] == "train"]
    return step


def test_a_file_of_samples_trains_and_verifies(data, tmp_path):
    printed = run(*MODEL, "-o", tmp_path / "a.onnx", "--data", data, *FEW, "--epochs", "2")
    assert numbers(printed)["done"] == 1
    assert printed["verification"]["samples"] == 70
    assert printed["verification"]["accuracy"]["float"] == 1.0


def test_it_is_the_public_function(data, tmp_path):
    """The same batches in the same order give the same file."""
    run(*MODEL, "-o", tmp_path / "a.onnx", "--data", data, *FEW, "--epochs", "1", "--no-verify")
    again = ["--epochs", "1", "--no-verify", "--work", tmp_path / "work"]
    run(*MODEL, "-o", tmp_path / "b.onnx", "--data", data, *FEW, *again)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "work").is_dir()


def test_layers_have_bits_of_their_own(data, tmp_path, monkeypatch):
    seen = {}

    def spy(model, **options):
        seen.update(options)
        raise tersor.TersorError("stop here")

    monkeypatch.setattr("tersor.api.quantize.quantize", spy)
    widths = ["--bits", "8=8", "--activation-bits", "0=8", "--weights", "2", "--activations", "3"]
    assert invoke(*MODEL, "-o", tmp_path / "a.onnx", "--data", data, *widths).exit_code == 1
    assert (seen["weights"], seen["activations"]) == ({"8": 8}, {"0": 8})
    assert seen["scheme"].few == FewBits(3, 2)


@pytest.mark.parametrize("source", ["batches", "stream"])
def test_code_makes_batches_and_a_loss_reads_their_labels(source, tmp_path):
    options = ["--data", f"tests.nets:{source}", "--loss", "torch.nn.functional:cross_entropy"]
    printed = run(*MODEL, "-o", tmp_path / "a.onnx", *options, *BITS, "--steps", "5", "--no-verify")
    assert numbers(printed)["done"] == 1


def test_what_does_not_fit_is_said(data, images, tmp_path):
    def error(*options):
        result = invoke(*MODEL, "-o", tmp_path / "a.onnx", *options)
        assert result.exit_code == 1, result.output
        assert not (tmp_path / "a.onnx").exists()
        return result.stderr

    loss = ["--loss", "torch.nn.functional:cross_entropy"]
    assert "holds no labels" in error("--data", images, *loss, "--batch", "4")
    assert "70 samples, fewer than one batch of 128" in error("--data", data, "--batch", "128")
    assert "steps" in error("--data", "tests.nets:stream", *loss)
    assert "its own batches" in error("--data", "tests.nets:batches", *loss, "--batch", "4")
    assert "no_such" in error("--data", data, "--loss", "torch:no_such")
    assert "rate" in error("--data", data, "--rate", "-1")


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, nets.images(8).numpy())
    return path
