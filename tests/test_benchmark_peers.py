"""The benchmark of peers: recipes are there, files are judged, and refusals are told."""

import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("tokenizers")

from benchmarks.peers.judge import Judge, ratio
from benchmarks.peers.networks import Subject
from benchmarks.peers.recipe import IN_OPENVINO, RECIPES
from benchmarks.peers.run import run
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).eval()
    x = torch.randn(32, 3, 8, 8)
    path = export_onnx(capture(model, (x[:2],)), folder / "tiny.onnx", expected=False).path
    (given,) = [value.name for value in onnx.load(path).graph.input]
    for name, part in (("samples", x[:16]), ("test", x[16:])):
        np.savez(folder / f"{name}.npz", **{given: part.numpy()})
    labels = model(x[16:]).argmax(1).numpy()

    def right(outputs, numbers):
        return 100 * float((outputs[numbers].argmax(1) == labels[numbers]).mean())

    return Subject("tiny", path, folder / "samples.npz", folder / "test.npz", "top-1", right, 16)


def test_every_recipe_is_there_and_says_what_a_user_writes():
    assert all(recipe.path.is_file() for recipe in (RECIPES | IN_OPENVINO).values())
    counts = {name: recipe.statements for name, recipe in RECIPES.items()}
    assert counts["tersor_with_data"] == 7  # a function, four lines, what runs it, and its call
    assert min(counts.values()) > 3


def test_the_float_file_is_as_good_as_itself(subject):
    quality = Judge(subject).quality(subject.path)
    assert (quality.score, quality.gain, quality.interval) == (100.0, 0.0, (0.0, 0.0))
    assert quality.sqnr == float("inf")


def test_a_file_that_answers_wrongly_loses_surely(subject):
    model = onnx.load(subject.path)
    weight = next(w for w in model.graph.initializer if w.dims[0] == 4 and len(w.dims) == 2)
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    path = subject.path.with_name("negative.onnx")
    onnx.save(model, path)
    quality = Judge(subject).quality(path)
    assert quality.gain == quality.score - 100
    low, high = quality.interval
    assert low <= quality.gain <= high < 0


def test_a_recipe_runs_in_a_process_of_its_own(subject):
    result = subject.path.with_name("int8.onnx")
    recipe = RECIPES["tersor_without_data"]
    found = run(recipe, sys.executable, str(subject.path), subject.samples, result)
    assert (found.said, result.is_file()) == ("", True)
    assert found.seconds > 0
    assert found.peak > 50
    refused = run(recipe, sys.executable, "absent.onnx", subject.samples, result)
    assert "absent.onnx" in refused.said
    assert not result.exists()


def test_the_ratio_is_the_median_over_the_rounds():
    assert ratio([2.0, 9.0, 2.0], [1.0, 1.0, 1.0]) == 2.0
