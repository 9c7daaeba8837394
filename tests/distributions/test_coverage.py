"""Coverage of kernel taps, against the mean of a real convolution of constant maps."""

import pytest
import torch
from torch import nn

from tersor.core.response import expected_response
from tersor.distributions.coverage import tap_coverage
from tersor.frontend.capture import capture
from tersor.graph.layers import layers

LAYERS = {
    "padded": (nn.Conv2d(3, 4, 3, padding=1), (3, 4, 5)),
    "strided": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 7, 6)),
    "dilated": (nn.Conv2d(2, 4, 3, dilation=2, padding=2), (2, 6, 6)),
    "same": (nn.Conv2d(2, 4, (5, 3), padding="same"), (2, 5, 5)),
    "valid": (nn.Conv1d(2, 4, 3), (2, 6)),
    "depthwise": (nn.Conv2d(4, 8, 5, padding=2, groups=4), (4, 5, 5)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 5, 5)),
    "transposed 1-d": (nn.ConvTranspose1d(3, 2, 4, stride=2, output_padding=1), (3, 5)),
    "linear": (nn.Linear(3, 2), (3,)),
}


@pytest.mark.parametrize(("module", "shape"), LAYERS.values(), ids=LAYERS.keys())
def test_mean_over_positions_is_exact_up_to_the_borders(module, shape):
    module = module.double()
    mean = torch.randn(shape[0], dtype=torch.float64, generator=torch.manual_seed(1))
    maps = mean.reshape(1, -1, *[1] * (len(shape) - 1)).expand(2, *shape)
    network = capture(nn.Sequential(module), maps)
    (layer,) = layers(network)
    coverage = tap_coverage(layer, maps.shape)
    assert coverage.shape == layer.grouped_weight().shape[3:]
    with torch.no_grad():
        want = module(maps).transpose(0, 1).flatten(1).mean(1) - module.bias
    got = expected_response(layer.grouped_weight(), mean, coverage)
    torch.testing.assert_close(got, want)


def test_a_tap_without_padding_is_always_on():
    (layer,) = layers(capture(nn.Sequential(nn.Conv2d(1, 1, 3)), torch.zeros(2, 1, 5, 5)))
    assert torch.equal(tap_coverage(layer, torch.Size([2, 1, 5, 5])), torch.ones(3, 3))
