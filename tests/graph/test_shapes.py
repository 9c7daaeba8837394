"""Shapes are those of a run, and equal calls are looked at once."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tersor.frontend.capture import capture
from tersor.graph.shapes import shapes


class Mixed(nn.Module):
    """Equal ops with other settings, sizes and types; lists of values; equal calls."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        for _ in range(20):
            y = y.relu()
        parts = [*y.split(1, 1), *y.split([1, 3], 1)]
        stacked = torch.cat([torch.cat(parts[:4], 1), torch.cat(parts[4:], 1)], 3)
        sums = stacked.sum(2), stacked.sum(3), (stacked > 0).sum(3), stacked.sum(3, keepdim=True)
        return sums, stacked.reshape(-1, 8, 2 * x.shape[3]), x.to(torch.float64) + 1, x + 1


class Counts(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.called = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.called.append(func)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def network():
    return capture(Mixed(), torch.ones(2, 3, 4, 6))


def test_shapes_are_those_of_a_run(network):
    run = torch.fx.Interpreter(network.module, garbage_collect_values=False)
    with torch.no_grad():
        run.run(*network.args, enable_io_processing=False)
    found = shapes(network)
    for node in network.graph.nodes:
        value, shape = run.env[node], found[node]
        if isinstance(value, torch.Tensor):
            assert shape == value.shape, node
        elif isinstance(value, list | tuple) and node.op != "output":
            assert [*shape] == [part.shape for part in value], node
        elif isinstance(value, int):
            assert shape == value, node


def test_equal_calls_are_looked_at_once(network):
    with Counts() as counts:
        shapes(network)
    assert counts.called.count(torch.ops.aten.relu.default) == 1
    assert counts.called.count(torch.ops.aten.convolution.default) == 1
