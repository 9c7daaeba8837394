"""Samples that are too small for a layer: one line, before any work."""

import pytest
import torch
from torch import nn

import tersor
from tersor.data.given.samples import samples
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture

OPEN = {"input": {0: "batch", 2: "height", 3: "width"}}


@pytest.fixture(scope="module")
def network():
    """Reads 7 × 7, and 5 × 5 of what is left: 11 × 11."""
    layers = [nn.Conv2d(3, 4, 7), nn.ReLU(), nn.Conv2d(4, 4, 5), nn.AdaptiveAvgPool2d(1)]
    return capture(
        nn.Sequential(*layers, nn.Flatten()).eval(), torch.randn(2, 3, 24, 24), None, OPEN
    )


def test_the_layer_and_the_smallest_size_are_named(network):
    with pytest.raises(InvalidInputError, match=r"9 × 10 are too small for '2'.*at least 11 × 12"):
        samples(network, torch.randn(8, 3, 9, 10))
    assert samples(network, torch.randn(8, 3, 11, 12))
    assert samples(network, torch.randn(8, 3, 11, 11))


def test_the_smallest_of_several_sizes_counts(network):
    sizes = [torch.randn(2, 3, side, side) for side in (24, 10, 13)]
    with pytest.raises(InvalidInputError, match=r"10 × 10 .*at least 11 × 11"):
        tersor.quantize(network, data=sizes)


def test_pooling_is_named_as_well():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(4), nn.Conv2d(4, 2, 1)).eval()
    network = capture(model, torch.randn(2, 3, 24, 24), None, OPEN)
    with pytest.raises(InvalidInputError, match=r"small for 'max_pool2d.*at least 6 × 6"):
        samples(network, torch.randn(4, 3, 5, 5))
