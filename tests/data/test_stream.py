"""A stream holds no more than what is still to be read."""

import weakref

import torch
from torch import nn

from tersor.data.walk.stream import Stream
from tersor.frontend.capture import capture

BATCHES = 3


def test_a_batch_is_dropped_once_it_has_been_read(monkeypatch):
    x = torch.randn(2, 1, 4, 4)
    network = capture(nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()).eval(), x)
    stream = Stream(network, [((x,), {})] * BATCHES, simulate=False)
    *before, relu, _ = network.graph.nodes
    for node in before:
        stream.run(node)
    read, held = [weakref.ref(y) for y in stream.of(relu.all_input_nodes[0])], list[int]()
    function = stream._function(relu)

    def counted(value):
        held.append(sum(y() is not None for y in read))
        return function(value)

    monkeypatch.setattr(stream, "_function", lambda _: counted)
    other = stream.fork()
    other.run(relu)
    stream.run(relu)
    assert held == [3, 3, 3, 3, 2, 1]  # what the first one reads is held by the second one
    assert torch.equal(stream.values[relu.name][-1], network(x))
