"""Analytic bias correction takes the mean error out of quantized layers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tersor.data.walk.observe import observe
from tersor.distributions.propagation import propagate
from tersor.frontend.capture import capture
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Skipped
from tersor.graph.nodes import argument
from tersor.graph.ops import WEIGHTED
from tersor.graph.simplify import fold
from tersor.quant.placement.place import place, quantizers
from tersor.quant.placement.quantizer import BiasQuantize
from tersor.quant.range_methods import MinMax
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.rounding.bias import correct_bias
from tersor.quant.schemes import DFQ_PAPER

WEIGHTS_ONLY = replace(DFQ_PAPER, kernels=frozenset(WEIGHTED)).with_bits(4, 16)


class Net(nn.Module):
    """conv → BatchNorm → ReLU → the layer under test."""

    def __init__(self, layer):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.layer = layer

    def forward(self, x):
        return self.layer(torch.relu(self.bn(self.conv(x))))


LAYERS = {
    "conv": lambda: nn.Conv2d(8, 16, 3, padding=1),
    "no bias": lambda: nn.Conv2d(8, 16, 1, bias=False),
    "strided": lambda: nn.Conv2d(8, 16, 3, stride=2, padding=1),
    "depthwise": lambda: nn.Conv2d(8, 16, 3, padding=1, groups=8),
    "grouped": lambda: nn.Conv2d(8, 12, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2),
    "linear": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
    "flattened": lambda: nn.Sequential(nn.Flatten(), nn.Linear(8 * 36, 10)),
}


def inputs(seed, count=4000):
    return torch.randn(count, 3, 6, 6, generator=torch.manual_seed(seed)) + 0.5


def network_of(make, exclude=()):
    """A folded network whose BatchNorm statistics are right, with 4-bit weights."""
    torch.manual_seed(0)
    model = Net(make())
    model.bn.momentum = None
    model.bn.weight.data.uniform_(0.5, 2.0)
    model.bn.bias.data.normal_()
    with torch.no_grad():
        model.train()(inputs(1))
    network = capture(model.eval(), inputs(2, 2))
    fold(network)
    place(network, WEIGHTS_ONLY, exclude)
    weight_ranges(network, method=MinMax())
    return network, model


def weights_in_simulation(network):
    """Weights rounded, everything else in floating point."""
    for node in network.nodes():
        if node.op == "call_module":
            module = network.module.get_submodule(node.target)
            if isinstance(module, BiasQuantize):
                node.replace_all_uses_with(node.args[0])
    network.finish()
    return network


def mean_error(network, model, x):
    """Largest mean error of an output channel."""
    with torch.no_grad():
        error = weights_in_simulation(network.copy())(x) - model(x)
    return float(error.movedim(1, 0).flatten(1).mean(1).abs().max())


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_mean_output_error_shrinks_five_times_on_held_out_data(make):
    network, model = network_of(make, exclude=["conv"])
    x = inputs(3)
    before = mean_error(network, model, x)
    correct_bias(network, propagate(network))
    assert mean_error(network, model, x) < before / 5
    corrected = [r for r in network.records if r.step == "correct bias"]
    assert [type(r) for r in corrected] == [Applied]
    assert corrected[0].numbers["largest shift"] > 0


def test_mean_output_error_of_a_whole_network_shrinks():
    network, model = network_of(LAYERS["conv"])
    x = inputs(3)
    before = mean_error(network, model, x)
    correct_bias(network, propagate(network))
    assert mean_error(network, model, x) < before / 5


def test_correction_equals_the_measured_shift_of_each_layer():
    network, _ = network_of(LAYERS["conv"])
    bias = {layer.name: layer.bias.detach().clone() for layer in layers(network)}
    floats = {}
    nodes = {layer.input: layer for layer in layers(network)}
    observe(network, [((inputs(3),), {})], {node: _keep(floats, node) for node in nodes})
    correct_bias(network, propagate(network))
    for layer in layers(network):
        edge = argument(layer.node, "weight")
        quantizer = network.module.get_submodule(edge.target)
        error = (quantizer(layer.weight) - layer.weight).detach()
        want = torch.nn.functional.conv2d(floats[layer.input], error, padding=1).mean((0, 2, 3))
        shift = bias[layer.name] - layer.bias.detach()
        assert (shift - want).abs().max() < 0.1 * want.abs().max()


def _keep(values, node):
    return lambda value: values.__setitem__(node, value)


def test_an_unknown_input_is_skipped_with_the_reason():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return self.linear(x.sort(1)[0])

    network = capture(Sorted(), torch.randn(2, 4))
    place(network, WEIGHTS_ONLY)
    weight_ranges(network, method=MinMax())
    before = next(layers(network)).bias.clone()
    correct_bias(network, propagate(network, {"x": (0.0, 1.0)}))
    record = network.records[-1]
    assert isinstance(record, Skipped)
    assert record.layer == "linear"
    assert "unknown" in record.reason
    assert torch.equal(next(layers(network)).bias, before)


def test_float_weights_are_left_alone():
    network, _ = network_of(LAYERS["conv"])
    for _, quantizer in quantizers(network):
        quantizer.enabled = False
    count = len(network.records)
    correct_bias(network, propagate(network))
    assert len(network.records) == count


def test_a_shared_bias_is_split_behind_its_quantizers():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.second.bias = self.first.bias

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

    network = capture(Tied(), torch.randn(2, 3, 4, 4))
    place(network, WEIGHTS_ONLY)
    weight_ranges(network, method=MinMax())
    correct_bias(network, propagate(network, {"x": (0.0, 1.0)}))
    first, second = layers(network)
    assert isinstance(first, Layer)
    assert not torch.equal(first.bias, second.bias)
    for layer in (first, second):
        edge = argument(layer.node, "bias")
        assert isinstance(network.module.get_submodule(edge.target), BiasQuantize)
