"""Channels go through padding whose width depends on an open size."""

import numpy as np
import pytest
import torch

import tersor
from tests.frontend.onnx.files import model, random, write

TEXT = """g (float[N, 3, L] x) => (float[N, 4, P] y) {
    a = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3], strides = [2]> (x, k) r = Relu(a)
    y = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3], strides = [2]> (r, l) }"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    made = model(TEXT, k=random(16, 3, 3), l=random(4, 16, 3))
    return write(tmp_path_factory.mktemp("pads"), made)


def test_weights_are_equalized_through_it(path):
    result = tersor.quantize(tersor.load(path)[0], torch.randn(2, 3, 11))
    assert "k → l" in [record.layer for record in result.records if record.step == "equalize"]
    x = torch.randn(2, 3, 14)
    wanted = tersor.load(path)[0](x).detach().numpy()
    apart = np.abs(result(x).detach().numpy() - wanted)
    assert np.median(apart) < np.median(np.abs(wanted)) / 20


def test_channels_are_removed_through_it(path):
    options = tersor.Compression(methods=("prune",))
    x = torch.randn(4, 3, 11)
    result = tersor.compress(tersor.load(path)[0], x, macs=0.6, options=options)
    assert result(torch.randn(2, 3, 14)).shape == (2, 4, 4)
