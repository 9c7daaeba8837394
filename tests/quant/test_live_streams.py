"""The streams of the walk give what plain ones give, to the bit in float64, and hold far less."""

import pytest
import torch
from torch import nn

from tersor.data.walk.per_batch import Kept
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.stream import Stream
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.nodes import operand
from tersor.quant.placement.place import place
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.ranges.observed import observed_ranges
from tersor.quant.rounding import live_streams
from tersor.quant.rounding.live_streams import LiveStream
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.captured import captured
from tests.zoo import ZOO


def batches_of(name):
    found = [ZOO[name].args(torch.float64, batch=4, seed=seed) for seed in range(3)]
    last = torch.channels_last  # the order in memory, on which rounding errors depend
    return [(tuple(x.contiguous(memory_format=last) for x in args), {}) for args in found]


def quantized(network, batches):
    place(network, ONNXRUNTIME_CPU)
    weight_ranges(network)
    observed_ranges(network, batches)
    return network


def steps(stream):
    """What every layer reads and writes, as the walk reads it."""
    nodes = {layer.node for layer in layers(stream.network)}
    for node in stream.network.graph.nodes:
        given = list(stream.of(operand(node))) if node in nodes else []
        stream.run(node)
        if node in nodes:
            yield given, list(stream.of(node))


@pytest.mark.parametrize("name", ["resnet", "separable", "densenet", "shufflenet"])
@pytest.mark.parametrize("room", [None, 0])
def test_layers_read_and_write_the_same(name, room):
    batches = batches_of(name)
    network = quantized(captured(name), batches)
    for simulate in (False, True):
        shelf = Shelf(room)
        plain = Stream(network, batches, simulate)
        live = LiveStream(network, batches, shelf, simulate)
        for found, wanted in zip(steps(live), steps(plain), strict=True):
            for ours, theirs in zip(found, wanted, strict=True):
                assert len(ours) == len(theirs) == len(batches)
                assert all(map(torch.equal, ours, theirs))


class Bottleneck(nn.Module):
    """Narrow, six times as wide, narrow."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.wide = nn.Conv2d(8, 48, 1)
        self.depthwise = nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.narrow = nn.Conv2d(48, 8, 1)
        self.last = nn.Conv2d(8, 8, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        y = torch.relu(self.depthwise(torch.relu(self.wide(x))))
        return self.last(x + self.narrow(y))


def test_wide_values_are_not_held():
    """One wide value in float for all batches would be six times the narrow one."""
    torch.manual_seed(0)
    batches = [((torch.randn(2, 3, 32, 32),), {}) for _ in range(4)]
    network = quantized(capture(Bottleneck().eval(), batches[0][0][0]), batches)
    narrow = 4 * 2 * 8 * 32 * 32 * 4  # bytes, all batches
    floating, coded, plain = Shelf(), Shelf(), Shelf()
    streams = [
        LiveStream(network, batches, floating, simulate=False),
        LiveStream(network, batches, coded, simulate=True),
        Stream(network, batches, simulate=False, shelf=plain),
    ]
    for node in network.graph.nodes:
        for stream in streams:
            stream.run(node)
    assert plain.most > 6 * narrow
    assert floating.most <= 2.5 * narrow
    assert coded.most <= 2.5 * narrow  # codes of the wide value are one and a half
    del stream, streams
    assert floating.held == coded.held == plain.held == 0


class Narrowing(nn.Module):
    """A wide value at full size, and one that takes an eighth of that."""

    def __init__(self):
        super().__init__()
        self.full = nn.Sequential(*(nn.Conv2d(n, 32, 3, padding=1) for n in (3, 32, 32)))
        self.narrow = nn.Conv2d(32, 4, 2, stride=2)
        self.wide = nn.Conv2d(4, 16, 1)
        self.last = nn.Conv2d(16, 4, 3)

    def forward(self, x):
        x = torch.relu(self.narrow(torch.relu(self.full(x))))
        return self.last(torch.relu(self.wide(x)))


def test_wide_values_are_held_where_more_is_held_at_another_time(monkeypatch):
    torch.manual_seed(0)
    batches = [((torch.randn(2, 3, 32, 32),), {}) for _ in range(4)]
    network = quantized(capture(Narrowing().eval(), batches[0][0][0]), batches)
    (wide,) = (layer.node.name for layer in layers(network) if layer.name == "wide")
    most, is_held = [], []
    for frugal in (False, True):
        if frugal:
            monkeypatch.setattr(live_streams, "_within_the_most", lambda *_: set())
        shelf = Shelf()
        stream = LiveStream(network, batches, shelf, simulate=False)
        for node in network.graph.nodes:
            stream.run(node)
            if node.name == wide:
                is_held.append(isinstance(stream.values[wide], Kept))
        most.append(shelf.most)
    assert is_held == [True, False]
    assert most[0] == most[1]


def test_layers_that_compute_with_integers_agree_with_those_that_do_not(monkeypatch):
    torch.manual_seed(0)
    batches = [((torch.randn(2, 3, 32, 32),), {}) for _ in range(3)]
    network = quantized(capture(Bottleneck().eval(), batches[0][0][0]), batches)
    found = list(steps(LiveStream(network, batches, Shelf(), simulate=True)))
    monkeypatch.setattr(live_streams, "integer_layer", lambda *_: None)
    plain = list(steps(LiveStream(network, batches, Shelf(), simulate=True)))
    for ours, theirs in zip(found, plain, strict=True):
        for x, y in zip((*ours[0], *ours[1]), (*theirs[0], *theirs[1]), strict=True):
            noise = (x - y).square().sum() / y.square().sum()
            assert noise < 1e-5  # single values fall on the other side of a half
