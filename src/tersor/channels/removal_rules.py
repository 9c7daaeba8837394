"""Rules for channel labels in a call, if channels are to be removed.

The result of an op for one channel must not depend on other channels; otherwise the function does
not matter. So BatchNorm and SiLU qualify, and a softmax or LayerNorm over the channels does not.

What remains of a value must be a grid again. If labels differ along several axes, as between the
two halves of a channel shuffle, those along one axis are kept apart and the others are united.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.channels.labels import Labels, StoredAxis, along, compact, spread
from tersor.channels.rescaling import move
from tersor.graph.layers import Layer
from tersor.graph.nodes import argument, operand, overload
from tersor.graph.ops import (
    MOVEMENT,
    PADS,
    POOLS,
    REDUCTIONS,
    STATISTICS_NORMS,
    WEIGHTED,
    padding_per_axis,
    pads_with_constant,
)

aten = torch.ops.aten
# Elementwise, but not tagged so by torch.
_POINTWISE = {
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.hardswish.default,
    aten.log_sigmoid.default,
    aten.to.dtype,
}
_SHARES = {aten.softmax.int, aten.log_softmax.int}
_JOINS = {aten.cat.default, aten.stack.default, operator.getitem}


def left_out(labels: Labels, node: fx.Node) -> Any:
    """The labels of a call's result, on a grid, or the reason why its inputs stay whole."""
    rule = RULES.get(node.target)
    if rule is None and _is_pointwise(node):
        rule = _pointwise
    found = f"{node.name} needs all its channels" if rule is None else rule(labels, node)
    if isinstance(found, str):
        return found
    return pytree.tree_map(lambda part: _grid(labels, part), found)


def varying(value: Int[Tensor, "..."]) -> list[int]:
    """The axes along which labels differ, counted from the front."""
    small = compact(value)
    return [a for a in range(value.ndim) if bool((small != small.narrow(a, 0, 1)).any())]


def _grid(labels: Labels, value: Any) -> Any:
    """Unite labels until they differ along one axis only: the one that keeps most of them apart."""
    axes = varying(value) if isinstance(value, Tensor) else []
    if len(axes) < 2:
        return value
    best = max(axes, key=lambda axis: (_distinct(value, axis), axis > 0))
    merged = value
    for axis in axes:
        if axis != best:
            merged = merged.narrow(axis, 0, 1)
    labels.unite(value, merged)
    return merged.expand(value.shape)


def _distinct(value: Int[Tensor, "..."], axis: int) -> int:
    return len(compact(value.movedim(axis, 0), first=1).flatten(1).unique(dim=0))


def _differs(value: Int[Tensor, "..."], axes: Any) -> bool:
    """Whether labels differ along any of these axes."""
    return any(axis % max(value.ndim, 1) in varying(value) for axis in axes)


def _layer(labels: Labels, node: fx.Node) -> Any:
    layer = Layer(node, labels.network)
    into = along(labels.of[layer.input], layer.channel_axis)
    if into is None:
        return f"the channels that {layer.name} reads do not lie along its own axis of channels"
    if layer.computed:
        return f"{layer.name} cannot be cut: {layer.computed}"
    out = labels.fresh(labels.shapes[node][layer.channel_axis])
    labels.consumed.append((layer, into))
    labels.produced.append((layer, out))
    for axis, channels in enumerate(_weight_axes(labels, layer, into, out)):
        labels.stored.append(StoredAxis(layer.weight_node, axis, channels, node))
    if layer.bias_node is not None:
        labels.stored.append(StoredAxis(layer.bias_node, 0, out, node))
    return spread(out, labels.shapes[node], layer.channel_axis)


def _weight_axes(labels: Labels, layer: Layer, into: Tensor, out: Tensor) -> list[Tensor]:
    """The channels along the axes of a weight; groups stay equally large.

    A group with one input is removed as a whole; larger groups lose the same channels each.
    """
    inputs, outputs = into.reshape(layer.groups, -1), out.reshape(layer.groups, -1)
    axes = [into, outputs[0]] if layer.is_transposed else [out, inputs[0]]
    if layer.groups == 1:
        return axes
    if inputs.shape[1] == 1:
        labels.unite(outputs, inputs)
        return axes[:1]
    labels.unite(inputs, inputs[:1])
    labels.unite(outputs, outputs[:1])
    return axes


def _norm(labels: Labels, node: fx.Node) -> Any:
    """BatchNorm and InstanceNorm: each channel by itself."""
    value = labels.of[operand(node)]
    channels = along(value, 1) if value.ndim > 1 else None
    edges = [argument(node, n) for n in ("weight", "bias", "running_mean", "running_var")]
    given = [edge for edge in edges if edge is not None]
    if channels is None:
        return f"the channels that {node.name} reads do not lie along its own axis of channels"
    if any(edge.op != "get_attr" for edge in given):
        return f"a parameter of {node.name} is computed"
    labels.stored += [StoredAxis(edge, 0, channels, node) for edge in given]
    return value


def _layer_norm(labels: Labels, node: fx.Node) -> Any:
    value = labels.of[operand(node)]
    if _differs(value, range(-len(argument(node, "normalized_shape")), 0)):
        return f"{node.name} normalizes over the channels"
    return value


def _share(labels: Labels, node: fx.Node) -> Any:
    value = labels.of[operand(node)]
    reason = f"{node.name} normalizes its values over the channels"
    return reason if _differs(value, [argument(node, "dim")]) else value


def _pool(labels: Labels, node: fx.Node) -> Any:
    value, axes = labels.of[operand(node)], range(-POOLS[overload(node)], 0)
    if _differs(value, axes):
        return f"{node.name} pools over the channels"
    return _cut(value, axes).expand(labels.shapes[node])


def _reduce(labels: Labels, node: fx.Node) -> Any:
    value = labels.of[operand(node)]
    axes = argument(node, "dim") or range(value.ndim)
    if _differs(value, axes):
        return f"{node.name} reduces over the channels"
    merged = _cut(value, axes)
    return merged if argument(node, "keepdim") else merged.squeeze(tuple(axes))


def _cut(value: Tensor, axes: Any) -> Tensor:
    """Cut axes to size 1 along which labels do not differ."""
    for axis in axes:
        value = value.narrow(axis, 0, 1)
    return value


def _is_pointwise(node: fx.Node) -> bool:
    tagged = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return tagged or node.target in _POINTWISE


def _pointwise(labels: Labels, node: fx.Node) -> Any:
    """Unite the operands of each channel; stored ones are cut, other constants must fit."""
    shape = labels.shapes[node]
    tensors = [x for x in node.all_input_nodes if isinstance(labels.shapes[x], torch.Size)]
    values = [labels.of[x] for x in tensors if not labels.is_constant(x)]
    leading = next((value for value in values if varying(value)), values[0])
    if not varying(leading):
        for value in values:
            labels.unite(*torch.broadcast_tensors(leading, value))
        return leading.expand(shape)
    axis = varying(leading)[0] - leading.ndim
    for value in values:
        if any(other - value.ndim != axis for other in varying(value)):
            return f"{node.name} has channels on two axes"
        if _size(value.shape, axis) > 1:
            labels.unite(*torch.broadcast_tensors(leading, value))
    return _stored_operands(labels, node, leading, axis) or leading.expand(shape)


def _stored_operands(labels: Labels, node: fx.Node, value: Tensor, axis: int) -> str | None:
    """Note the stored tensors with one number per channel, or return why others are in the way."""
    channels = along(value, axis)
    for x in node.all_input_nodes:
        shape = labels.shapes[x]
        if not isinstance(shape, torch.Size) or not labels.is_constant(x) or _size(shape, axis) < 2:
            continue
        if x.op != "get_attr" or channels is None or len(channels) != shape[axis]:
            return f"{node.name} reads a constant that is computed, or spreads a channel"
        labels.stored.append(StoredAxis(x, axis + len(shape), channels, node))
    return None


def _size(shape: torch.Size, axis: int) -> int:
    """The size of an axis counted from the end; 1 if there is none."""
    return shape[axis] if len(shape) >= -axis else 1


def _prelu(labels: Labels, node: fx.Node) -> Any:
    value, slope = labels.of[operand(node)], operand(node, 1)
    if labels.shapes[slope].numel() == 1 and labels.is_constant(slope):
        return value
    channels = along(value, 1) if value.ndim > 1 else None
    if slope.op != "get_attr" or channels is None:
        return f"the slopes of {node.name} are computed, or lie along another axis"
    labels.stored.append(StoredAxis(slope, 0, channels, node))
    return value


def _pad(labels: Labels, node: fx.Node) -> Any:
    """Channels of a constant that padding adds have labels of their own."""
    value = labels.of[operand(node)]
    for axis, (before, after) in padding_per_axis(node).items():
        shape = [*value.shape]
        shape[axis] = labels.shapes[node][axis]
        if not _differs(value, [axis]):
            value = value.narrow(axis, 0, 1).expand(shape)
        elif isinstance(before, fx.Node) or isinstance(after, fx.Node):
            return f"{node.name} pads channels by a size that is open"
        elif before < 0 or after < 0 or not pads_with_constant(node):
            return f"{node.name} cuts or copies channels"
        else:
            ends = [spread(labels.fresh(n), shape, axis) for n in (before, after)]
            value = torch.cat([ends[0], value, ends[1]], axis)
    return value


def _move(labels: Labels, node: fx.Node) -> Any:
    """Data movement whose numbers can be adjusted (`tersor.channels.narrow`)."""
    if node.target in _JOINS:
        return move(labels, node)
    value, picks = labels.of[operand(node)], []
    if node.target is aten.channel_shuffle.default:
        grouped = value.unflatten(1, (argument(node, "groups"), -1))
        labels.unite(grouped, grouped[:, :1])
    elif node.target is aten.slice.Tensor and argument(node, "step") != 1:
        picks = [argument(node, "dim")]
    elif node.target is aten.roll.default:
        picks = argument(node, "dims") or range(value.ndim)
    if _differs(value, picks):
        return f"{node.name} selects channels by their index"
    result = move(labels, node)
    if node.target is aten.reshape.default and _is_ambiguous(node, result):
        return f"the number of channels that {node.name} makes is computed"
    return result


def _is_ambiguous(node: fx.Node, result: Tensor) -> bool:
    """Whether a computed number of channels, which becomes −1, would not be the only one."""
    sizes = argument(node, "shape")
    return -1 in sizes and any(isinstance(sizes[axis], fx.Node) for axis in varying(result))


RULES: dict[Any, Callable[[Labels, fx.Node], Any]] = {
    **dict.fromkeys(WEIGHTED, _layer),
    **dict.fromkeys(STATISTICS_NORMS, _norm),
    **dict.fromkeys(_SHARES, _share),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(MOVEMENT, _move),
    **dict.fromkeys(PADS, _pad),
    aten.layer_norm.default: _layer_norm,
    aten.prelu.default: _prelu,
}
