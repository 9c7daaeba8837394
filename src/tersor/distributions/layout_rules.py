"""Rules for ops that move, pool, reduce or pad values."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from tersor.distributions.distribution import Distribution, dilute
from tersor.distributions.walk import Layout, Walk
from tersor.graph.attention import mixed_values
from tersor.graph.nodes import argument, call
from tersor.graph.ops import MOVEMENT, REDUCTIONS, pads_with_constant

aten = torch.ops.aten
MOVES = {
    *MOVEMENT,
    aten.concat.default,
    aten.hstack.default,
    aten.index.Tensor,
    aten.index_select.default,
    aten.repeat.default,
    aten.tile.default,
}
# Their results stay within the range of the input.
AVERAGES = REDUCTIONS - {aten.sum.dim_IntList}
PADDED_POOLS = {aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default}


def move(walk: Walk, node: fx.Node) -> Any:
    """Reshape, transpose, slice, concatenate …: the op itself is run on channel labels."""
    inputs: list[Distribution] = []

    def label(arg: fx.Node) -> Any:
        known = walk.value(arg)
        if not isinstance(walk.shape(arg), torch.Size):
            return walk.shape(arg)  # a number
        if isinstance(known, Tensor) and not known.is_floating_point():
            return known  # an index
        layout = walk.layout(arg)
        if layout is None:
            raise LookupError
        first = sum(len(x.mean) for x in inputs)
        inputs.append(layout.channels)
        return layout.labels + first

    try:
        moved = call(node, map_arg(node.args, label), map_arg(node.kwargs, label))
    except LookupError:
        return None
    if not inputs:
        return None  # integers, of a shape that depends on the batch
    channels = Distribution.cat(inputs)
    return pytree.tree_map(lambda labels: _locate(Layout(channels, labels)), moved)


def _locate(layout: Layout) -> Distribution | Layout:
    located = layout.located()
    return layout if located is None else located


def getitem(walk: Walk, node: fx.Node) -> Any:
    """One part of a chunk or split."""
    values, index = walk.value(node.args[0]), node.args[1]
    return values[index] if isinstance(values, list | tuple) else None  # type: ignore[index]


def spatial(walk: Walk, node: fx.Node) -> Distribution | None:
    """Pooling and upsampling: results stay within the input's range.

    Mean and variance are kept. That is exact for the mean of average pooling and nearest
    upsampling, an upper bound for the variance of averages, and too low for the mean of maxima.
    """
    x = walk.of(node.args[0])
    if x is not None and walk.shapes[node][x.axis] != len(x.mean):
        return None  # it pools over the channels
    if x is None or node.target not in PADDED_POOLS or not any(argument(node, "padding")):
        return x
    return Distribution(x.mean, x.var, x.low.clamp(max=0), x.high.clamp(min=0), x.axis)


def attend(walk: Walk, node: fx.Node) -> Any:
    """Attention averages over positions; see `spatial` for the moments."""
    values = mixed_values(node)
    layout = None if values is None else walk.layout(values)
    if layout is None:
        return None
    labels = layout.labels
    row = labels.narrow(-2, 0, 1)
    if not bool((labels == row).all()):
        return None  # positions have distributions of their own
    return _locate(Layout(layout.channels, row.expand(*walk.shapes[node][:-1], row.shape[-1])))


def reduce(walk: Walk, node: fx.Node) -> Distribution | None:
    """Mean or extremum over axes other than the channels; see `spatial` for the moments."""
    layout = walk.layout(node.args[0])
    if layout is None:
        return None
    x, labels = layout.channels, layout.labels
    axes = [axis % labels.ndim for axis in argument(node, "dim") or range(labels.ndim)]
    if not bool((labels.amax(axes) == labels.amin(axes)).all()):
        return None  # channels are mixed
    return Layout(x, labels.amax(axes, keepdim=bool(argument(node, "keepdim")))).located()


def pad(walk: Walk, node: fx.Node) -> Distribution | None:
    """Padding with a constant counts with its share, also if it adds channels."""
    x, layout = walk.of(node.args[0]), walk.layout(node.args[0])
    if x is None or layout is None:
        return None
    sizes = [walk.shape(n) if isinstance(n, fx.Node) else n for n in argument(node, "pad")]
    if not pads_with_constant(node):  # what is added are copies
        labels = F.pad(layout.labels.double(), sizes, argument(node, "mode"))
        return Layout(layout.channels, labels.long()).located()
    padded = F.pad(layout.labels, sizes, value=-1)
    rows = padded.movedim(x.axis, 0).flatten(1)
    share = (rows < 0).to(x.mean).mean(1)
    return dilute(x.take(rows.amax(1).clamp(min=0), x.axis), share, argument(node, "value") or 0.0)
