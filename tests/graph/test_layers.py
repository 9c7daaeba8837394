"""Layers: arguments by name, one canonical weight, and rows of the layer table."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tersor.frontend.capture import capture
from tersor.graph.layers import Layer, layers, per_input, per_output
from tersor.graph.network import Network, free_name
from tersor.graph.nodes import argument, set_argument
from tersor.graph.shapes import shapes
from tersor.report.describe import describe
from tests.captured import outputs
from tests.zoo import ZOO

KINDS = {
    "conv": (nn.Conv2d(4, 6, 3, padding=1), "conv", (4, 5, 5)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), "conv", (4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, bias=False), "depthwise", (4, 5, 5)),
    "same": (nn.Conv1d(4, 6, 3, padding="same", groups=2), "conv", (4, 9)),
    "conv3d": (nn.Conv3d(4, 2, 2), "conv", (4, 3, 3, 3)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2), "transposed conv", (4, 5, 5)),
    "transposed grouped": (nn.ConvTranspose1d(4, 6, 3, groups=2), "transposed conv", (4, 5)),
    "linear": (nn.Linear(4, 6), "linear", (4,)),
    "linear on tokens": (nn.Linear(4, 6), "linear", (7, 4)),
}
kinds = pytest.mark.parametrize(("module", "kind", "shape"), KINDS.values(), ids=KINDS.keys())


def one_layer(module: nn.Module, shape: tuple[int, ...]) -> tuple[Network, Layer]:
    network = capture(nn.Sequential(module).double(), torch.randn(2, *shape).double())
    (layer,) = layers(network)
    return network, layer


@kinds
def test_output_and_input_channels_of_the_canonical_weight(module, kind, shape):
    """Scaling the input of a layer is scaling its columns, and its output its rows."""
    network, layer = one_layer(module, shape)
    x, axis = network.args[0], layer.channel_axis
    before = network(x)

    def along(factor):
        return factor.reshape(-1, *[1] * (-1 - axis))

    columns = torch.rand(x.shape[axis], dtype=torch.float64) + 0.5
    rows = torch.rand(before.shape[axis], dtype=torch.float64) + 0.5
    weight = layer.grouped_weight()
    layer.set_grouped_weight(weight * per_input(columns, weight) * per_output(rows, weight))
    if layer.bias is not None:
        layer.set_bias(layer.bias.detach() * rows)
    torch.testing.assert_close(network(x / along(columns)), before * along(rows))


@kinds
def test_a_layer_runs_with_another_weight(module, kind, shape):
    network, layer = one_layer(module, shape)
    (x,) = network.args
    other = torch.randn_like(layer.weight)
    assert torch.equal(layer.ungrouped(layer.grouped(other)), other)
    with torch.no_grad():
        before, found = network(x), layer.run(x, other)
        assert torch.equal(network(x), before)
        layer.network.replace_tensor(layer.weight_node, other)
        assert torch.equal(network(x), found)
    assert not torch.allclose(found, before)


@kinds
def test_the_layer_table(module, kind, shape):
    network, layer = one_layer(module, shape)
    (row,) = describe(network)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        y = network(*network.args)
    assert row.macs * 2 * len(y) == counter.get_total_flops()
    assert row.kind == kind
    assert row.name == layer.name == "0"
    assert row.output == tuple(y.shape[1:])
    assert row.weight == tuple(module.weight.shape)
    assert row.parameters == sum(p.numel() for p in module.parameters())
    assert row.low == float(module.weight.detach().min())
    assert row.high == float(module.weight.detach().max())
    axis = layer.out_axis
    if not (layer.is_transposed and layer.groups > 1):
        ranges = module.weight.detach().abs().movedim(axis, 0).flatten(1).amax(1)
        assert row.imbalance == pytest.approx(float(ranges.max() / ranges.min()))


def test_a_dead_channel_is_infinitely_out_of_balance():
    module = nn.Linear(4, 3)
    module.weight.data[1] = 0
    (row,) = describe(one_layer(module, (4,))[0])
    assert row.imbalance == math.inf


@pytest.mark.parametrize("name", ["resnet", "decoder", "standardized", "encoder_layer"])
def test_the_table_has_every_layer_with_a_stored_weight(name):
    case = ZOO[name]
    network = capture(case.make(), case.args())
    stored = [layer.name for layer in layers(network) if layer.weight_node.op == "get_attr"]
    assert [row.name for row in describe(network)] == stored


def test_arguments_by_name():
    network, layer = one_layer(nn.Conv2d(4, 6, 3, padding=1), (4, 5, 5))
    assert argument(layer.node, "padding") == [1, 1]
    assert argument(layer.node, "groups") == 1  # the default of the schema
    with pytest.raises(KeyError, match="dilations"):
        argument(layer.node, "dilations")
    set_argument(layer.node, "dilation", [2, 2])
    network.finish()
    assert argument(layer.node, "padding") == [1, 1]
    want = F.conv2d(network.args[0], layer.weight, layer.bias, padding=1, dilation=2)
    torch.testing.assert_close(network(*network.args), want)


def test_a_layer_gets_a_bias_under_its_own_name():
    network, layer = one_layer(nn.Linear(4, 3, bias=False), (4,))
    before = network(*network.args)
    layer.set_bias(torch.arange(3.0).double())
    network.finish()
    assert "0.bias" in network.module.state_dict()
    torch.testing.assert_close(network(*network.args), before + torch.arange(3.0))


def test_names_that_are_free():
    module = nn.Module()
    module.kernel = nn.Parameter(torch.zeros(1))
    module.conv = nn.Conv1d(1, 1, 1)
    assert free_name(module, "other.weight") == "other.weight"
    assert free_name(module, "conv.weight") == "conv.weight_2"
    assert free_name(module, "conv.extra") == "conv.extra"
    assert free_name(module, "kernel") == "kernel_2"
    assert free_name(module, "kernel.bias") == "kernel_bias"  # nothing fits into a tensor
    module.kernel_bias = nn.Parameter(torch.zeros(1))
    assert free_name(module, "kernel.bias") == "kernel_bias_2"


@pytest.mark.parametrize("name", ZOO)
def test_shapes_are_those_of_a_real_run(name):
    case = ZOO[name]
    network = capture(case.make(), case.args(batch=3), case.kwargs(batch=3))
    seen = shapes(network)
    (results,) = network.graph.output_node().args
    found = [seen[node] for node in results]
    assert found == [x.shape for x in outputs(network, *network.args, **network.kwargs)]
    assert all(isinstance(seen[layer.node], torch.Size) for layer in layers(network))


class CutAtValue(nn.Module):
    """How many rows remain depends on the values."""

    def forward(self, x):
        return x[x[:, 0] > 0].sum(0) + x.sum(0)


def test_shapes_that_depend_on_values_are_measured():
    x = torch.tensor([[1.0, 2.0], [-1.0, 0.0], [3.0, 1.0]])
    program = torch.export.export(CutAtValue(), (x,))
    module = program.module(check_guards=False)
    network = Network(module, (x,))
    assert torch.Size([2, 2]) in shapes(network).values()
