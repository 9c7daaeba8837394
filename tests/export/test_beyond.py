"""Inputs outside the range that a file was quantized for."""

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.export.proof.beyond import Beyond, quantized_inputs

SCHEMES = ["onnxruntime-cpu", "tensorrt"]


@pytest.fixture(scope="module", params=SCHEMES)
def file(request, tmp_path_factory):
    """Pictures from 0 to 2."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    x = torch.rand(8, 3, 8, 8)
    q = tersor.quantize(model, x, input_range=(0, 2), scheme=request.param)
    return q.export(tmp_path_factory.mktemp("files") / "q.onnx").path


def test_the_range_is_read_from_the_file(file):
    ((low, high),) = quantized_inputs(file).values()
    assert high == pytest.approx(2, rel=0.01)
    assert low == pytest.approx(0 if low > -1 else -2, abs=0.05)  # with tensorrt it is symmetric


def test_values_outside_are_counted_and_told(file):
    (name,) = quantized_inputs(file)
    beyond = Beyond(file)
    beyond.add({name: np.full((1, 3, 8, 8), 1.5, np.float32)})
    assert beyond.doubts() == []
    beyond.add({name: np.full((1, 3, 8, 8), 255, np.float32)})
    (said,) = beyond.doubts()
    assert said.startswith(f"50% of the values of input {name!r} lie outside")
    assert said.endswith("they reach from 1.5 to 255")


def test_the_ends_of_the_range_lie_inside_although_they_are_rounded(file):
    ((name, (low, high)),) = quantized_inputs(file).items()
    beyond = Beyond(file)
    ends = [0.999 * low - 0.001, high + 0.003]
    beyond.add({name: np.array(ends, np.float32)})
    assert beyond.doubts() == []


def test_a_few_values_are_no_reason_to_doubt(file):
    (name,) = quantized_inputs(file)
    x = np.ones((100, 3, 8, 8), np.float32)
    x[0, 0, 0, :] = 9
    beyond = Beyond(file)
    beyond.add({name: x})
    assert beyond.doubts() == []
