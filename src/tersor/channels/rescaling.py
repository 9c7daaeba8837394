"""Labels the channel of every element of every value, in one walk in execution order.

Each rule below handles one kind of op. It returns the labels of the op's result, or the reason why
the op does not commute with a scale per channel; the labels of its inputs are then frozen. Removing
channels has rules of its own: `tersor.channels.removal`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from tersor.channels.labels import Labels, along, spread
from tersor.graph.attention import MIXING, mixed_values
from tersor.graph.layers import Layer
from tersor.graph.network import Network
from tersor.graph.nodes import argument, call, operand, overload, source
from tersor.graph.norms import NORMS, Norm, can_scale
from tersor.graph.ops import (
    CLIPS,
    ELEMENTWISE,
    MOVEMENT,
    PADS,
    POOLS,
    REDUCTIONS,
    WEIGHTED,
    clip_bounds,
    padding_per_axis,
    pads_with_constant,
)
from tersor.graph.shapes import shapes

aten = torch.ops.aten
LabelRule = Callable[[Labels, fx.Node], Any]


def trace(network: Network, rule: LabelRule | None = None) -> Labels:
    """Label every value of a network.

    Args:
        network: The network.
        rule: Computes the labels of a call's result, or the reason why the
            labels of its inputs are frozen. Default: the rules of rescaling, below.
    """
    labels = Labels(network, shapes(network))
    for node in network.graph.nodes:
        if node.op == "output":
            labels.freeze_inputs(node, "it is an output of the network")
        elif node.op == "placeholder":
            labels.of[node] = _opaque(labels, labels.shapes[node], "it is an input of the network")
        elif node.op == "get_attr" or labels.constant.issuperset(node.all_input_nodes):
            labels.constant.add(node)
            labels.of[node] = _opaque(labels, labels.shapes[node], "it does not depend on an input")
        elif node.op == "call_module":
            labels.of[node] = labels.of[source(node)]
        else:
            _visit(labels, node, rule or _rescaled)
    return labels


def _visit(labels: Labels, node: fx.Node, rule: LabelRule) -> None:
    shape = labels.shapes[node]
    if not isinstance(shape, torch.Size | list | tuple):
        return
    found = rule(labels, node)
    if isinstance(found, str):
        labels.freeze_inputs(node, found)
        found = _opaque(labels, shape, found)
    labels.of[node] = found


def _rescaled(labels: Labels, node: fx.Node) -> Any:
    rule = RULES.get(node.target)
    return f"{node.name} does not commute with a scale" if rule is None else rule(labels, node)


def _opaque(labels: Labels, shape: Any, reason: str) -> Any:
    """One frozen label for a whole value whose channels are unknown."""
    if isinstance(shape, torch.Size):
        label = labels.fresh(1)
        labels.freeze(label, reason)
        return label[0].expand(shape)
    if isinstance(shape, list | tuple):
        return [_opaque(labels, part, reason) for part in shape]
    return shape


def _layer(labels: Labels, node: fx.Node) -> Any:
    layer = Layer(node, labels.network)
    channels_in = along(labels.of[layer.input], layer.channel_axis)
    if channels_in is None:
        labels.freeze(labels.of[layer.input], f"{layer.name} mixes its channels")
    else:
        labels.consumed.append((layer, channels_in))
    return _produce(labels, layer)


def _norm(labels: Labels, node: fx.Node) -> Any:
    reason = f"{node.name} does not commute with a scale"
    if not can_scale(node):
        return reason
    labels.freeze_inputs(node, reason)
    return _produce(labels, Norm(node, labels.network))


def _produce(labels: Labels, layer: Layer) -> Tensor:
    """New labels for the output channels of a layer."""
    node, shape = layer.node, labels.shapes[layer.node]
    channels_out = labels.fresh(shape[layer.channel_axis])
    labels.produced.append((layer, channels_out))
    if layer.computed or not layer.has_own_weight:
        reason = f"{layer.name} shares its weight, or has a computed weight or bias"
        labels.freeze(channels_out, reason)
        labels.freeze_inputs(node, reason)
    return spread(channels_out, shape, layer.channel_axis)


def _attend(labels: Labels, node: fx.Node) -> Any:
    """Attention averages over positions: a scale of V passes, but the weights must not change."""
    values = mixed_values(node)
    if values is None:
        return f"{node.name} does not commute with a scale"
    value = labels.of[values]
    for other in node.all_input_nodes:
        if other is not values:
            labels.freeze(labels.of.get(other), f"{node.name} does not commute with a scale")
    merged = _merge(labels, value, [-2])
    shape = [*labels.shapes[node]]
    return merged.expand(*shape[:-1], merged.shape[-1])


def _elementwise(labels: Labels, node: fx.Node) -> Any:
    return labels.of[operand(node)]


def _prelu(labels: Labels, node: fx.Node) -> Any:
    if labels.is_constant(node.args[1]):
        return labels.of[operand(node)]
    return f"{node.name} has slopes that depend on an input"


def _clip(labels: Labels, node: fx.Node) -> Any:
    bounds = clip_bounds(node)
    if bounds is None:
        return f"the bounds of {node.name} are computed"
    low, high = bounds
    if low not in (0.0, -float("inf")):
        return f"the lower bound of {node.name} is not zero"
    return (
        _elementwise(labels, node) if high == float("inf") else _bounded(labels, node, torch.Size())
    )


def _bounded(labels: Labels, node: fx.Node, bound: torch.Size) -> Any:
    """A clip from above, whose bound (one, or one per channel) will be scaled for each channel."""
    value = labels.of[operand(node)].expand(labels.shapes[node])
    for axis in dict.fromkeys((1 - value.ndim, -1)):
        channels = along(value, axis) if value.ndim > 1 else None
        if channels is None or (bound.numel() > 1 and not _is_along(bound, axis, len(channels))):
            continue
        if bound.numel() == 1 and bool((channels == channels[0]).all()):
            channels = channels[:1]
        labels.clips.append((node, channels, axis))
        return value
    return f"{node.name} clips values whose channels, or bounds, are not on one axis"


def _is_along(shape: torch.Size, axis: int, channels: int) -> bool:
    return len(shape) >= -axis and shape[axis] == shape.numel() == channels


def _pool(labels: Labels, node: fx.Node) -> Any:
    value = labels.of[operand(node)]
    merged = _merge(labels, value, range(-POOLS[overload(node)], 0))
    return merged.expand(labels.shapes[node])


def _reduce(labels: Labels, node: fx.Node) -> Any:
    value = labels.of[operand(node)]
    axes = argument(node, "dim") or range(value.ndim)
    merged = _merge(labels, value, axes)
    return merged if argument(node, "keepdim") else merged.squeeze(tuple(axes))


def _merge(labels: Labels, value: Tensor, axes: Any) -> Tensor:
    """Unite the labels along some axes, and cut these axes to size 1."""
    merged = value
    for axis in axes:
        merged = merged.narrow(axis, 0, 1)
    labels.unite(value, merged)
    return merged


def _pad(labels: Labels, node: fx.Node) -> Any:
    """Padding: zeros fit every scale, so a new channel of zeros gets labels of its own."""
    constant = pads_with_constant(node)
    if constant and argument(node, "value"):
        return f"{node.name} pads with a constant that is not zero"
    value = labels.of[operand(node)]
    for axis, (before, after) in padding_per_axis(node).items():
        merged = value.narrow(axis, 0, 1)
        shape = [*value.shape]
        shape[axis] = labels.shapes[node][axis]
        varies = bool((value != merged).any())
        if varies and (isinstance(before, fx.Node) or isinstance(after, fx.Node)):
            return f"{node.name} pads the channels of {operand(node).name} by a size that is open"
        if constant and varies:
            first, last = max(-before, 0), value.shape[axis] - max(-after, 0)
            kept = value.narrow(axis, first, last - first)
            ends = (spread(labels.fresh(max(n, 0)), shape, axis) for n in (before, after))
            value = torch.cat([next(ends), kept, next(ends)], axis)
        else:
            value = _merge(labels, value, [axis]).expand(shape)
    return value


def _join(labels: Labels, node: fx.Node) -> Any:
    """An addition, subtraction, minimum or maximum: both sides have the same scale."""
    if any(labels.is_constant(arg) for arg in node.args[:2]):
        return f"{node.name} adds or compares a constant"
    left, right = labels.of[operand(node)], labels.of[operand(node, 1)]
    labels.unite(left, right)
    return torch.broadcast_tensors(left, right)[0]


def _minimum(labels: Labels, node: fx.Node) -> Any:
    """A minimum with stored bounds is the clip that equalization makes of a ReLU6."""
    bound = source(operand(node, 1))
    is_clip = bound.op == "get_attr" and not labels.is_constant(node.args[0])
    return _bounded(labels, node, labels.shapes[bound]) if is_clip else _join(labels, node)


def _scale(labels: Labels, node: fx.Node) -> Any:
    """A product or quotient: one side can be scaled if the other is fixed, as a gate is."""
    left, right = node.args[:2]
    if labels.is_fixed(right):
        return labels.of[operand(node)].expand(labels.shapes[node])
    if labels.is_fixed(left) and node.target is aten.mul.Tensor:
        return labels.of[operand(node, 1)].expand(labels.shapes[node])
    return f"{node.name} multiplies or divides two values that both could be scaled"


def move(labels: Labels, node: fx.Node) -> Any:
    """Data movement: the op itself is run on the labels."""

    def value(arg: fx.Node) -> Any:
        return labels.of.get(arg, labels.shapes[arg])

    return call(node, map_arg(node.args, value), map_arg(node.kwargs, value))


RULES: dict[Any, LabelRule] = {
    **dict.fromkeys(WEIGHTED, _layer),
    **dict.fromkeys(NORMS, _norm),
    **dict.fromkeys(MIXING, _attend),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(CLIPS, _clip),
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(MOVEMENT, move),
    **dict.fromkeys(PADS, _pad),
    **dict.fromkeys((aten.add.Tensor, aten.sub.Tensor, aten.maximum.default), _join),
    **dict.fromkeys((aten.mul.Tensor, aten.div.Tensor), _scale),
    aten.minimum.default: _minimum,
    aten.prelu.default: _prelu,
}
