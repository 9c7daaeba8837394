"""Costs: exact against torch's own counter, for every kind of layer and every network."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tersor.frontend.capture import capture
from tersor.graph.costs import Cost, batch_size, costs, total
from tersor.graph.simplify import fold
from tests.zoo import ZOO

aten = torch.ops.aten
# What a layer becomes when it runs; products of two activations run as `bmm` or attention.
LAYERS = (aten.convolution, aten.mm, aten.addmm)
KINDS = {
    "strided": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(0, 1)), (4, 8, 7)),
    "dilated": (nn.Conv2d(4, 6, 3, dilation=2), (4, 7, 7)),
    "same": (nn.Conv2d(4, 6, (5, 3), padding="same"), (4, 7, 7)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), (4, 7, 7)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1, bias=False), (4, 5, 5)),
    "conv1d": (nn.Conv1d(4, 6, 5, stride=3, padding=2), (4, 17)),
    "conv3d": (nn.Conv3d(2, 3, (2, 3, 1), padding=(1, 0, 0)), (2, 4, 5, 3)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, dilation=2), (4, 5, 5)),
    "transposed grouped": (nn.ConvTranspose1d(4, 6, 3, stride=3, groups=2), (4, 5)),
    "linear": (nn.Linear(4, 6), (4,)),
    "tokens": (nn.Linear(4, 6, bias=False), (7, 4)),
}


def counted(network) -> int:
    """MACs of the layers for one sample, by torch's counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*network.args, **network.kwargs)
    flops = counter.get_flop_counts()["Global"]
    return sum(flops.get(op, 0) for op in LAYERS) // 2 // batch_size(network)


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize(("module", "shape"), KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_layer(module, shape, batch):
    network = capture(nn.Sequential(module), torch.randn(batch, *shape))
    parameters = sum(p.numel() for p in module.parameters())
    assert costs(network) == {"0": Cost(counted(network), parameters)}


@pytest.mark.parametrize("case", ZOO.values(), ids=ZOO.keys())
def test_every_network(case):
    network = capture(case.make(), case.args(), case.kwargs())
    assert total(costs(network).values()).macs == counted(network)
    fold(network)
    assert total(costs(network).values()).macs == counted(network)


def test_windows_are_positions_too():
    """Windows that share the first axis with the batch, as in Swin."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(4, 4)

        def forward(self, x):
            return self.mix(x.reshape(-1, 2, 4)).reshape(x.shape)

    network = capture(Windows(), torch.randn(3, 10, 4))
    assert costs(network) == {"mix": Cost(10 * 4 * 4, 20)}


def test_a_layer_that_runs_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(self.layer(x).relu())

    network = capture(Twice(), torch.randn(2, 4))
    assert costs(network) == {"layer": Cost(32, 20)}
