"""W₁ ← S⁻¹ W₁,  b₁ ← S⁻¹ b₁,  W₂ ← W₂ S  with  s_i = √(r¹_i / r²_i): cross-layer equalization.

DFQ, arXiv 1906.04721, §4.1. Channels that one quantization step size must serve get equal ranges;
the function of the network does not change.

Differs from the paper in: every class of channels that move together is equalized, not only plain
chains, so residual joins, concatenations and channel shuffles take part; ReLU6 is made exact by a
clip per channel (`Equalize.clipped`), where the paper replaces it by ReLU; all sweeps run on the
ranges alone and the weights are rescaled once, at the end.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.equalize import equalizing_scale
from tersor.graph.channels import Channels, Port, channels, clip_bounds
from tersor.graph.layers import Layer
from tersor.graph.network import Applied, Gaussian, Network, Skipped

aten = torch.ops.aten


@dataclass(frozen=True)
class Equalize:
    """Options of cross-layer equalization.

    Attributes:
        sweeps: Most sweeps over all classes; the paper iterates to convergence.
        tolerance: Converged when no scale changes by more than this, relatively.
        clipped: What to do with ReLU6 and other clipped activations between the layers:
            `"per-channel"` clips each channel at its own bound, which is exact; `"relu"` drops the
            bound, as the paper does; `"keep"` leaves these layers alone.
        joins: Whether channels that meet in an addition are equalized together. The paper stays
            inside residual blocks.
    """

    sweeps: int = 500
    tolerance: float = 1e-3
    clipped: Literal["per-channel", "relu", "keep"] = "per-channel"
    joins: bool = True


@dataclass(frozen=True)
class _Side:
    """The channels of a group in one layer: their positions, and which class of the group."""

    layer: Layer
    channels: Tensor
    members: Tensor


@dataclass
class _Group:
    """Classes that share layers: the unit of one update."""

    classes: Tensor
    producers: list[_Side]
    consumers: list[_Side]
    reason: str | None = None


def equalize(network: Network, options: Equalize = Equalize()) -> None:  # noqa: B008
    """Equalize all channel ranges that can be, and rescale the notes left by BatchNorm with them.

    Args:
        network: Edited in place; its function is unchanged (but see `Equalize.clipped`).
        options: See `Equalize`.
    """
    partition = channels(network)
    _freeze_clips(partition, options)
    groups = _groups(partition, options)
    log_scale = _solve(partition, [g for g in groups if g.reason is None], options)
    rescale(network, partition, log_scale.exp(), options.clipped)
    for group in groups:
        network.records.append(_record(group, log_scale))
    network.finish()


def rescale(
    network: Network,
    partition: Channels,
    scale: Float[Tensor, " classes"],
    clipped: Literal["per-channel", "relu", "keep"] = "per-channel",
) -> None:
    """Divide each class of channels by its scale where produced; multiply where consumed.

    Args:
        network: Edited in place.
        partition: The classes, from `tersor.graph.channels.channels` of this network.
        scale: One positive scale per class; must be 1 for frozen classes.
        clipped: What becomes of clipped activations, see `Equalize`.
    """
    for port in partition.producers:
        if _changes(factor := scale[port.classes]):
            _scale_output(port.layer, 1 / factor)
    for port in partition.consumers:
        if _changes(factor := scale[port.classes]):
            _scale_input(port.layer, factor)
    for clip in partition.clips:
        if _changes(factor := scale[clip.classes]):
            _rescale_clip(network, clip.node, factor, clipped)


def _changes(factor: Tensor) -> bool:
    return bool((factor != 1).any())


def _freeze_clips(partition: Channels, options: Equalize) -> None:
    if options.clipped == "keep":
        for clip in partition.clips:
            for index in clip.classes.tolist():
                partition.frozen.setdefault(index, f"{clip.node.name} clips at a fixed bound")


def _groups(partition: Channels, options: Equalize) -> list[_Group]:
    """Collect the classes that share the same layers at both ends."""
    ends: dict[int, tuple[list[Port], list[Port]]] = defaultdict(lambda: ([], []))
    for side, ports in enumerate((partition.producers, partition.consumers)):
        for port in ports:
            for index in set(port.classes.tolist()):
                ends[index][side].append(port)
    by_layers: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = defaultdict(list)
    for index, (made, used) in ends.items():
        by_layers[tuple(map(id, made)), tuple(map(id, used))].append(index)
    groups = []
    for indices in by_layers.values():
        free = [index for index in indices if index not in partition.frozen]
        classes = torch.tensor(free or indices)
        made, used = ([_side(port, classes) for port in ports] for ports in ends[indices[0]])
        group = _Group(classes, made, used)
        group.reason = _refusal(group, None if free else partition.frozen[indices[0]], options)
        groups.append(group)
    return groups


def _side(port: Port, classes: Tensor) -> _Side:
    inside = torch.isin(port.classes, classes)
    order = classes.argsort()
    members = order[torch.searchsorted(classes[order], port.classes[inside])]
    device = port.layer.weight.device
    return _Side(port.layer, inside.nonzero().flatten().to(device), members.to(device))


def _refusal(group: _Group, frozen: str | None, options: Equalize) -> str | None:
    if frozen is not None:
        return frozen
    if not group.producers or not group.consumers:
        return "nothing on the other side can take the scale up"
    if not options.joins and len(group.producers) > 1:
        return "several layers meet in a join, and joins are switched off"
    return None


def _solve(
    partition: Channels, groups: list[_Group], options: Equalize
) -> Float[Tensor, " classes"]:
    """Sweep over the groups until every class has equal ranges on both sides."""
    weights = {
        side.layer.node: _magnitudes(side.layer)
        for group in groups
        for side in group.producers + group.consumers
    }
    total = torch.zeros(partition.count, dtype=torch.float64)
    active = list(groups)
    for _ in range(options.sweeps):
        changed = set()
        for group in active:
            step = _update(group, weights)
            total[group.classes] += step.to(total)
            if float(step.abs().max()) > options.tolerance:
                changed |= {side.layer.node for side in group.producers + group.consumers}
        active = [g for g in groups if any(s.layer.node in changed for s in g.producers + g.consumers)]
        if not active:
            break
    return total


def _update(group: _Group, weights: dict[fx.Node, Tensor]) -> Float[Tensor, " classes"]:
    """Equalize one group on the range matrices; returns the logarithm of its scales."""

    def ranges(sides: list[_Side], axis: int) -> Tensor:
        rows = []
        for side in sides:
            values = weights[side.layer.node].amax(axis).flatten()[side.channels]
            row = values.new_zeros(len(group.classes))
            rows.append(row.scatter_reduce(0, side.members, values, "amax"))
        return torch.stack(rows)

    scale = equalizing_scale(ranges(group.producers, 2), ranges(group.consumers, 1))
    for side in group.producers:
        matrix = weights[side.layer.node].flatten(0, 1)
        matrix[side.channels] /= scale[side.members][:, None]
    for side in group.consumers:
        weight = weights[side.layer.node]
        factor = weight.new_ones(weight.shape[0] * weight.shape[2])
        factor[side.channels] = scale[side.members]
        _columns(weight, factor)
    return scale.log()


def _magnitudes(layer: Layer) -> Float[Tensor, "groups out in"]:
    """max |W| over the kernel, for every pair of channels."""
    weight = layer.grouped_weight().abs()
    return weight.reshape(*weight.shape[:3], -1).amax(-1).contiguous()


def _rows(weight: Tensor, factor: Float[Tensor, " out"]) -> None:
    weight *= factor.reshape(weight.shape[0], -1, *[1] * (weight.ndim - 2))


def _columns(weight: Tensor, factor: Float[Tensor, " in"]) -> None:
    weight *= factor.reshape(weight.shape[0], 1, -1, *[1] * (weight.ndim - 3))


def _scale_output(layer: Layer, factor: Float[Tensor, " out"]) -> None:
    weight = layer.grouped_weight().double()
    _rows(weight := weight.clone(), factor)
    layer.set_grouped_weight(weight.to(layer.weight.dtype))
    if layer.bias is not None:
        layer.set_bias((layer.bias.detach().double() * factor).to(layer.bias.dtype))
    notes, name = layer.network.statistics, layer.node.name
    if name in notes:
        factor = factor.to(notes[name].mean.dtype)
        notes[name] = Gaussian(notes[name].mean * factor, notes[name].std * factor)


def _scale_input(layer: Layer, factor: Float[Tensor, " in"]) -> None:
    weight = layer.grouped_weight().double().clone()
    _columns(weight, factor)
    layer.set_grouped_weight(weight.to(layer.weight.dtype))


def _rescale_clip(
    network: Network,
    node: fx.Node,
    factor: Float[Tensor, " channels"],
    clipped: Literal["per-channel", "relu", "keep"],
) -> None:
    """min(x, h) becomes min(x, h / s_i) per channel, or loses its upper bound."""
    if node.target is aten.minimum.default:
        bound_node = node.args[1]
        assert isinstance(bound_node, fx.Node)
        bound = network.tensor(bound_node)
        network.replace_tensor(bound_node, bound / factor.reshape(bound.shape).to(bound))
        return
    bounds = clip_bounds(node)
    assert bounds is not None
    dims = node.meta["val"].ndim
    bound = (bounds[1] / factor).reshape(-1, *[1] * (dims - 2)).to(node.meta["val"].dtype)
    with network.graph.inserting_before(node):
        new = network.graph.call_function(aten.relu.default, (node.args[0],))
        new.meta = dict(node.meta)
        if clipped == "per-channel":
            stored = network.add_tensor(f"{node.name}.bound", bound, before=node)
            new = network.graph.call_function(aten.minimum.default, (new, stored))
            new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    if clipped == "relu":
        what = f"its upper bound {bounds[1]:g} was dropped, so that it commutes with the scale"
        network.records.append(Applied(node.name, "equalize", what))


def _record(group: _Group, log_scale: Tensor) -> Applied | Skipped:
    made = ", ".join(dict.fromkeys(side.layer.name for side in group.producers))
    used = ", ".join(dict.fromkeys(side.layer.name for side in group.consumers))
    if group.reason is not None:
        return Skipped(made or used, "equalize", group.reason)
    scale = log_scale[group.classes].exp()
    numbers = {
        "channels": float(len(group.classes)),
        "smallest scale": float(scale.min()),
        "largest scale": float(scale.max()),
    }
    return Applied(f"{made} → {used}", "equalize", "channel ranges made equal", numbers)
