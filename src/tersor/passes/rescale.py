"""W₁ ← S⁻¹ W₁,  b₁ ← S⁻¹ b₁,  W₂ ← W₂ S: scale channels without changing the function.

For layers W₁, W₂ around any f with f(s · x) = s · f(x), s > 0. Clips at a number h do not commute
with a scale by themselves: min(x, h) becomes min(x, h / s_i).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.graph.channels import Channels, Clip, clip_bounds
from tersor.graph.layers import Layer, operand, per_input, per_output
from tersor.graph.network import Applied, Gaussian, Network

aten = torch.ops.aten

Clipping = Literal["per-channel", "relu", "keep"]


def rescale(
    network: Network,
    partition: Channels,
    scale: Float[Tensor, " classes"],
    clipped: Clipping = "per-channel",
) -> None:
    """Divide each class of channels by its scale where produced; multiply where consumed.

    What BatchNorm left in `Network.statistics` is divided too.

    Args:
        network: Edited in place.
        partition: The classes, from `tersor.graph.channels.channels` of this network.
        scale: One positive scale per class; must be 1 for frozen classes.
        clipped: What becomes of clipped activations, see `tersor.passes.equalize.Equalize`.
    """
    for port in partition.producers:
        if _changes(factor := scale[port.classes]):
            _scale_output(port.layer, 1 / factor)
    for port in partition.consumers:
        if _changes(factor := scale[port.classes]):
            _scale_input(port.layer, factor)
    for clip in partition.clips:
        if _changes(factor := scale[clip.classes]):
            _scale_clip(network, clip, factor, clipped)
    network.finish()


def _changes(factor: Tensor) -> bool:
    return bool((factor != 1).any())


def _scale_output(layer: Layer, factor: Float[Tensor, " out"]) -> None:
    weight = layer.grouped_weight()
    layer.set_grouped_weight(_times(weight, per_output(factor, weight)))
    if layer.bias is not None:
        layer.set_bias(_times(layer.bias.detach(), factor))
    notes = layer.network.statistics.get(layer.node.name)
    if notes is not None:
        scaled = Gaussian(_times(notes.mean, factor), _times(notes.std, factor))
        layer.network.statistics[layer.node.name] = scaled


def _scale_input(layer: Layer, factor: Float[Tensor, " in"]) -> None:
    weight = layer.grouped_weight()
    layer.set_grouped_weight(_times(weight, per_input(factor, weight)))


def _times(value: Tensor, factor: Tensor) -> Tensor:
    """A product whose only rounding error is that of the result's dtype."""
    return (value.double() * factor.to(value.device)).to(value.dtype)


def _scale_clip(
    network: Network, clip: Clip, factor: Float[Tensor, " channels"], clipped: Clipping
) -> None:
    """min(x, h) becomes min(x, h / s_i) per channel, or loses its upper bound."""
    node = clip.node
    factor = factor.reshape(-1, *[1] * (-1 - clip.axis))
    bounds = clip_bounds(node)
    if bounds is None:  # a minimum with stored bounds
        bound = network.tensor(operand(node, 1)).detach()
        _clip_above(network, node, operand(node), bound.double() / factor.to(bound.device))
        return
    low, high = bounds
    new = operand(node)
    if low == 0:
        new = _call(node, "relu", aten.relu.default, new)
    if clipped == "per-channel":
        _clip_above(network, node, new, high / factor)
        return
    node.replace_all_uses_with(new)
    what = f"its upper bound {high:g} was dropped, so that it commutes with the scale"
    network.records.append(Applied(node.name, "equalize", what))


def _clip_above(network: Network, node: fx.Node, value: fx.Node, bound: Tensor) -> None:
    """Put `minimum(value, bound)` in the place of a node."""
    like = node.meta["val"]
    bound = bound.to(like.device, like.dtype)
    stored = network.add_tensor(f"{node.name}.bound", bound, before=node)
    node.replace_all_uses_with(_call(node, "minimum", aten.minimum.default, value, stored))


def _call(node: fx.Node, name: str, target: torch._ops.OpOverload, *args: fx.Node) -> fx.Node:
    """A call in front of a node, whose value has the same shape."""
    with node.graph.inserting_before(node):
        new = node.graph.create_node("call_function", target, args, name=name)
    new.meta = dict(node.meta)
    return new
