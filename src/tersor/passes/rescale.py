"""W₁ ← S⁻¹ W₁,  b₁ ← S⁻¹ b₁,  W₂ ← W₂ S: scale channels without changing the function.

For layers W₁, W₂ around any f with f(s · x) = s · f(x), s > 0. Clips at a number h do not commute
with a scale by themselves: min(x, h) becomes min(x, h / s_i).
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.channels.partition import Channels, Clip
from tersor.graph.layers import Layer, per_input, per_output
from tersor.graph.network import Applied, Gaussian, Network
from tersor.graph.nodes import operand
from tersor.graph.ops import clip_bounds

aten = torch.ops.aten

Clipping = Literal["per-channel", "common", "relu", "keep"]


def rescale(
    network: Network,
    partition: Channels,
    scale: Float[Tensor, " classes"],
    clipped: Clipping = "per-channel",
) -> None:
    """Divide each class of channels by its scale where produced; multiply where consumed.

    The BatchNorm statistics in `Network.statistics` are divided, too.

    Args:
        network: Edited in place.
        partition: The classes, from `tersor.channels.partition.channels` of this network.
        scale: One positive scale per class; must be 1 for frozen classes.
        clipped: How clipped activations are treated, see `tersor.passes.equalize.Equalize`.
    """
    for port in partition.producers:
        if _changes(factor := scale[port.classes]):
            scale_output(port.layer, 1 / factor)
    for port in partition.consumers:
        if _changes(factor := scale[port.classes]):
            scale_input(port.layer, factor)
    for clip in partition.clips:
        if _changes(factor := scale[clip.classes]):
            _scale_clip(network, clip, factor, clipped)
    network.finish()


def upper_bound(network: Network, clip: Clip) -> Float[Tensor, "*channels"]:
    """The bound of a clip: one number, or one for each channel."""
    bounds = clip_bounds(clip.node)
    if bounds is not None:
        return torch.tensor(bounds[1], dtype=torch.float64)
    return network.tensor(operand(clip.node, 1)).detach().flatten()


def _changes(factor: Tensor) -> bool:
    return bool((factor != 1).any())


def scale_output(layer: Layer, factor: Float[Tensor, " out"]) -> None:
    """Multiply what a layer computes, and the statistics that describe it.

    Args:
        layer: A layer, or a norm as a layer; its weight and bias are replaced.
        factor: One number for each output channel.
    """
    weight = layer.grouped_weight()
    layer.set_grouped_weight(_times(weight, per_output(factor, weight)))
    if layer.bias is not None:
        layer.set_bias(_times(layer.bias.detach(), factor))
    notes = layer.network.statistics.get(layer.node.name)
    if notes is not None:
        scaled = Gaussian(_times(notes.mean, factor), _times(notes.std, factor))
        layer.network.statistics[layer.node.name] = scaled


def scale_input(layer: Layer, factor: Float[Tensor, " in"]) -> None:
    """Multiply the weights of a layer that read each channel.

    Args:
        layer: The layer; its weight is replaced.
        factor: One number for each input channel.
    """
    weight = layer.grouped_weight()
    layer.set_grouped_weight(_times(weight, per_input(factor, weight)))


def _times(value: Tensor, factor: Tensor) -> Tensor:
    """Multiply with no rounding error but that of the result's dtype."""
    return (value.double() * factor.to(value.device)).to(value.dtype)


def _scale_clip(
    network: Network, clip: Clip, factor: Float[Tensor, " channels"], clipped: Clipping
) -> None:
    """min(x, h) becomes min(x, h / s_i) per channel, or loses its upper bound."""
    node, value = clip.node, operand(clip.node)
    bounds = clip_bounds(node)
    high = upper_bound(network, clip).double() / factor.to(node.meta["val"].device)
    if bounds is not None and bounds[0] == 0:
        value = _call(node, "relu", aten.relu.default, value)
    if clipped == "common" and float(high.max() - high.min()) <= 1e-6 * float(high.max()):
        _clip_at(node, value, float(high.mean()))
        return
    if clipped != "relu" or bounds is None:
        _clip_above(network, node, value, high.reshape(-1, *[1] * (-1 - clip.axis)))
        return
    node.replace_all_uses_with(value)
    what = f"its upper bound {bounds[1]:g} was dropped, so that it commutes with the scale"
    network.records.append(Applied(node.name, "equalize", what))


def _clip_at(node: fx.Node, value: fx.Node, high: float) -> None:
    """Replace a node by one clip for all channels, which includes a ReLU in front of it."""
    low = 0.0 if value.target is aten.relu.default else -float("inf")
    value = operand(value) if low == 0 else value
    node.replace_all_uses_with(_call(node, "hardtanh", aten.hardtanh.default, value, low, high))


def _clip_above(network: Network, node: fx.Node, value: fx.Node, bound: Tensor) -> None:
    """Replace a node by `minimum(value, bound)`."""
    like = node.meta["val"]
    bound = bound.to(like.device, like.dtype)
    stored = network.add_tensor(f"{node.name}.bound", bound, before=node)
    node.replace_all_uses_with(_call(node, "minimum", aten.minimum.default, value, stored))


def _call(node: fx.Node, name: str, target: torch._ops.OpOverload, *args: Any) -> fx.Node:
    """Insert a call in front of a node; its value has the same shape."""
    with node.graph.inserting_before(node):
        new = node.graph.create_node("call_function", target, args, name=name)
    new.meta = dict(node.meta)
    return new
