"""The function behind a layer is what the network itself computes there."""

import pytest
import torch
from torch import Tensor, nn

from tersor.frontend.capture import capture
from tersor.graph.activation import activation
from tersor.graph.layers import layers
from tersor.quant.placement.place import place
from tersor.quant.ranges.calibrate import data_free_ranges, weight_ranges
from tersor.quant.schemes import ONNXRUNTIME_CPU


class Bounded(nn.Module):
    """A ReLU clipped at a bound per channel, as equalization leaves it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bound", torch.linspace(0.2, 1.0, 6).reshape(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.relu(x), self.bound)


class Joined(nn.Module):
    """A ReLU that is not alone, or that comes after a sum."""

    def __init__(self, how: str):
        super().__init__()
        self.conv, self.how = nn.Conv2d(6, 6, 1), how

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.how == "sum":
            return torch.relu(x + y)
        return torch.relu(y) + y if self.how == "two readers" else y.amax(1)


ACTIVATIONS = {
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-0.5, 0.5),
    "hardswish": nn.Hardswish(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU("tanh"),
    "leaky": nn.LeakyReLU(0.2),
    "prelu": nn.PReLU(6, 0.1),
    "two": nn.Sequential(nn.ReLU(), nn.Tanh()),
    "bounded": Bounded(),
}
X = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(0))


def first(network):
    return next(layers(network)).node


@pytest.mark.parametrize("module", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_it_is_what_the_network_computes(module):
    conv = nn.Conv2d(6, 6, 3)
    network = capture(nn.Sequential(conv, module), X)
    with torch.no_grad():
        y = conv(X)
        found, want = activation(network, first(network))(y), module(y)
    assert torch.equal(found, want)
    assert not torch.allclose(found, y)


@pytest.mark.parametrize("module", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_quantizers_are_looked_through(module):
    network = capture(nn.Sequential(nn.Conv2d(6, 6, 3), module, nn.Conv2d(6, 2, 1)), X)
    before = activation(network, first(network))
    place(network, ONNXRUNTIME_CPU)
    weight_ranges(network)
    data_free_ranges(network, {})
    with torch.no_grad():
        assert torch.equal(activation(network, first(network))(X), before(X))
        assert torch.equal(before(X), module(X))


@pytest.mark.parametrize("how", ["sum", "two readers", "maximum over channels"])
def test_it_ends_where_anything_else_reads(how):
    network = capture(Joined(how), X)
    assert torch.equal(activation(network, first(network))(X), X)


def test_the_last_layer_has_none():
    network = capture(nn.Sequential(nn.Conv2d(6, 6, 3)), X)
    assert torch.equal(activation(network, first(network))(X), X)
