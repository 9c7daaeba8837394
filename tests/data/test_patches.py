"""Sampled patches times the weight are the layer's own output at these positions."""

import pytest
import torch
from torch import nn

from tersor.data.walk.patches import choose_positions, read_patches, written_outputs
from tersor.frontend.capture import capture
from tersor.graph.layers import layers

LAYERS = {
    "conv": (nn.Conv2d(4, 6, 3, padding=1), (4, 7, 9)),
    "strided": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(0, 1)), (4, 8, 7)),
    "dilated": (nn.Conv2d(4, 6, 3, dilation=2, padding=2), (4, 7, 7)),
    "same": (nn.Conv2d(4, 6, (5, 3), padding="same"), (4, 7, 7)),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid"), (4, 7, 7)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), (4, 7, 7)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1), (4, 5, 5)),
    "conv1d": (nn.Conv1d(4, 6, 5, stride=3, padding=2), (4, 17)),
    "conv3d": (nn.Conv3d(2, 3, (2, 3, 1), padding=(1, 0, 0)), (2, 4, 5, 3)),
    "linear": (nn.Linear(5, 3), (5,)),
    "tokens": (nn.Linear(5, 3), (6, 5)),
}


def run(module, shape, count):
    """A layer, its input and output, and some positions of the latter."""
    x = torch.randn(4, *shape, generator=torch.manual_seed(0), dtype=torch.float64)
    network = capture(nn.Sequential(module).double(), x)
    (layer,) = layers(network)
    with torch.no_grad():
        output = network(x)
    positions = choose_positions(layer, output, count, torch.Generator().manual_seed(1))
    return layer, x, output, positions


@pytest.mark.parametrize("count", [3, 1000])
@pytest.mark.parametrize(("module", "shape"), LAYERS.values(), ids=LAYERS.keys())
def test_patches_times_the_weight_are_the_output(module, shape, count):
    layer, x, output, positions = run(module, shape, count)
    weight = layer.grouped_weight().flatten(2)
    want = written_outputs(layer, output - _bias(layer, output), positions)
    assert torch.allclose(weight @ read_patches(layer, x, positions), want)
    assert positions.shape[1] == min(count, output[0].numel() // layer.bias.numel())
    assert all(len(row.unique()) == len(row) for row in positions)


@pytest.mark.parametrize("count", [3, 1000])
@pytest.mark.parametrize("name", ["conv", "strided", "dilated", "same", "valid", "grouped"])
def test_the_order_in_memory_changes_nothing(name, count):
    module, shape = LAYERS[name]
    layer, x, output, positions = run(module, shape, count)
    turned = (each.contiguous(memory_format=torch.channels_last) for each in (x, output))
    other_x, other_output = turned
    patches = [read_patches(layer, each, positions, zero=7) for each in (x, other_x)]
    assert torch.equal(*patches)
    outputs = [written_outputs(layer, each, positions) for each in (output, other_output)]
    assert torch.equal(*outputs)


def _bias(layer, output):
    return layer.bias.detach().reshape(-1, *[1] * layer.kernel_dims).expand_as(output[0])
