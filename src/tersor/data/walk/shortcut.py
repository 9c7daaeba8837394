"""The error of a shortcut, so that the branch next to it can compensate for it.

The branch aims at y + (s − ŝ) instead of y, where y is added to s, as in the channel pruning of
arXiv 1707.06168 for networks with several branches.
"""

import torch
from torch import fx

from tersor.data.walk.per_batch import Computed, Values
from tersor.data.walk.stream import Stream
from tersor.graph.layers import Layer
from tersor.graph.nodes import source

aten = torch.ops.aten


def lacking(layer: Layer, floating: Stream, edited: Stream) -> Values | None:
    """Compute s − ŝ for every batch, if a layer's output is added to a value that is there already.

    Args:
        layer: The layer that runs next in the edited network.
        floating: The float network, which has already run the layer.
        edited: The network that is being changed.
    """
    reader = layer.node
    while len(reader.users) == 1:
        edge, (reader,) = reader, reader.users
        if reader.target is aten.add.Tensor and not reader.kwargs:
            others = [arg for arg in reader.args if isinstance(arg, fx.Node) and arg is not edge]
            return _difference(layer, others, floating, edited)
        if reader.op != "call_module":
            break
    return None


def _difference(
    layer: Layer, others: list[fx.Node], floating: Stream, edited: Stream
) -> Values | None:
    if len(others) != 1 or others[0].name not in edited.values:
        return None
    before = source(others[0]).name
    want = floating.values.get(others[0].name, floating.values.get(before))
    shape = floating.values[layer.node.name][0].shape
    have = edited.values[others[0].name]
    if want is None or want[0].shape != shape:
        return None
    return Computed(torch.sub, want[:], have[:])
