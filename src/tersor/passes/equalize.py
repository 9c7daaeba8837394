"""W₁ ← S⁻¹ W₁,  b₁ ← S⁻¹ b₁,  W₂ ← W₂ S  with  s_i = √(r¹_i / r²_i): cross-layer equalization.

DFQ, arXiv 1906.04721, §4.1. Channels that share a quantization step size get equal ranges; the
function of the network does not change.

Differs from the paper in: activation ranges count, too, if `Equalize.strength` is below ½. Every
class of channels that go together is equalized, not only plain chains, so residual joins,
concatenations and channel shuffles take part. γ and β of a LayerNorm (or another normalization)
take up a scale as a layer does, and a scale of V passes through attention. ReLU6 is made exact by a
clip per channel or by equal scales (`Equalize.clipped`), whereas the paper replaces it by ReLU. All
sweeps run on the ranges only, and the weights are rescaled once, at the end. The mean of each step
is over-relaxed, which reaches the same ranges in a tenth of the sweeps.
"""

from collections import defaultdict
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, fx

from tersor.channels.partition import Channels, Port, channels
from tersor.checked import Count, HalfOrLess, Positive, checked
from tersor.core.equalize import equalizing_scale, over_relaxation
from tersor.graph.layers import Layer, per_input, per_output
from tersor.graph.network import Applied, Network, Skipped
from tersor.graph.norms import Norm
from tersor.passes.rescale import Clipping, rescale, upper_bound


@checked()
@dataclass(frozen=True)
class Equalize:
    """Options of cross-layer equalization.

    Attributes:
        sweeps: Largest number of sweeps over all classes; the paper iterates to convergence.
        tolerance: Sweeps stop when no scale changes by more than this share.
        strength: From ½, the paper's rule, which uses weights only, to 0, which gives all channels
            the same activation range. See `tersor.core.equalize`.
        sigmas: Range of activations, in standard deviations from their mean.
        clipped: What to do with ReLU6 and other clipped activations between the layers.
            `"per-channel"` clips each channel at its own bound, which is exact. `"common"` scales
            the channels such that one bound serves all, which is exact and costs nothing at run
            time. `"relu"` drops the bound, as the paper does. `"keep"` leaves these layers alone.
        joins: Whether channels that meet in an addition are equalized together. The paper stays
            inside residual blocks.
    """

    sweeps: Count = 500
    tolerance: Positive = 1e-3
    strength: HalfOrLess = 0.5
    sigmas: Positive = 6.0
    clipped: Clipping = "per-channel"
    joins: bool = True


@dataclass(frozen=True)
class _Side:
    """The channels of a group in one layer: their positions, and which class of the group."""

    layer: Layer
    positions: Int[Tensor, " channels"]
    members: Int[Tensor, " channels"]


@dataclass(frozen=True)
class _Group:
    """Classes that share layers: the unit of one update."""

    classes: Int[Tensor, " classes"]
    producers: list[_Side]
    consumers: list[_Side]
    reason: str | None

    @property
    def sides(self) -> list[_Side]:
        """Producers and consumers."""
        return self.producers + self.consumers

    @property
    def nodes(self) -> set[fx.Node]:
        """The calls of its layers."""
        return {side.layer.node for side in self.sides}


def equalize(network: Network, options: Equalize = Equalize()) -> None:
    """Equalize all channel ranges where possible, and rescale BatchNorm statistics with them.

    Args:
        network: Edited in place; its function is unchanged (but see `Equalize.clipped`).
        options: See `Equalize`.
    """
    partition = channels(network)
    _freeze_clips(partition, options)
    groups = _groups(partition, options)
    log_scale = _solve(network, partition, [g for g in groups if g.reason is None], options)
    rescale(network, partition, log_scale.exp(), options.clipped)
    for group in groups:
        network.records.append(_record(group, log_scale))


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
            for index in port.classes.unique().tolist():
                ends[index][side].append(port)
    by_layers: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = defaultdict(list)
    for index, (made, used) in ends.items():
        by_layers[tuple(map(id, made)), tuple(map(id, used))].append(index)
    return [
        _group(partition, indices, *ends[indices[0]], options) for indices in by_layers.values()
    ]


def _group(
    partition: Channels, indices: list[int], made: list[Port], used: list[Port], options: Equalize
) -> _Group:
    """The classes of `indices` that can be scaled, or all of them and why they cannot."""
    free = [index for index in indices if index not in partition.frozen]
    reason = None
    if not free:
        reason = partition.frozen[indices[0]]
    elif not made or not used:
        reason = "nothing on the other side can take the scale up"
    elif not options.joins and len(made) > 1:
        reason = "several layers meet in a join, and joins are switched off"
    classes = torch.tensor(sorted(free or indices))
    producers, consumers = ([_side(port, classes) for port in ports] for ports in (made, used))
    return _Group(classes, producers, consumers, reason)


def _side(port: Port, classes: Int[Tensor, " classes"]) -> _Side:
    inside = torch.isin(port.classes, classes)
    members = torch.searchsorted(classes, port.classes[inside])
    return _Side(port.layer, inside.nonzero().flatten(), members)


def _pinned(network: Network, partition: Channels, options: Equalize) -> Float[Tensor, " classes"]:
    """The scale with which one bound serves all channels of a clip; NaN if any scale will do."""
    result = torch.full((partition.count,), torch.nan, dtype=torch.float64)
    for clip in partition.clips if options.clipped == "common" else ():
        bound = upper_bound(network, clip).to(result)
        if bool((bound > 0).all()):
            result[clip.classes] = (bound / bound.max()).expand(clip.classes.shape)
    return result


def _carried(network: Network, partition: Channels, options: Equalize) -> Float[Tensor, " classes"]:
    """The range of each class before its activation, from BatchNorm statistics and clips."""
    result = torch.zeros(partition.count, dtype=torch.float64)
    for port in partition.producers:
        notes = network.statistics.get(port.layer.node.name)
        if notes is None and isinstance(port.layer, Norm):
            notes = port.layer.output
        if notes is not None:
            reach = (notes.mean.abs() + options.sigmas * notes.std).to(result)
            result = result.scatter_reduce(0, port.classes, reach, "amax")
    for clip in partition.clips:
        bound = upper_bound(network, clip).to(result).expand(clip.classes.shape)
        result[clip.classes] = torch.minimum(result[clip.classes], bound)
    return result


def _solve(
    network: Network, partition: Channels, groups: list[_Group], options: Equalize
) -> Float[Tensor, " classes"]:
    """Compute the logarithm of all scales: sweep over the groups until no scale moves any more."""
    layers = {side.layer.node: side.layer for group in groups for side in group.sides}
    sizes = {node: _magnitudes(layer) for node, layer in layers.items()}
    carried = _carried(network, partition, options)
    pinned = _pinned(network, partition, options).log()
    factor = over_relaxation(len(groups)) if options.strength == 0.5 else 1.0
    total = torch.zeros_like(carried)
    active = groups
    for _ in range(options.sweeps):
        changed: set[fx.Node] = set()
        for group in active:
            now, fixed = total[group.classes], pinned[group.classes]
            wanted = _wanted(group, sizes, now, carried[group.classes], options.strength)
            step = wanted.where(fixed.isnan(), fixed) - now
            step = step + step.mean() * (factor - 1) if bool(fixed.isnan().all()) else step
            _apply(group, sizes, step.exp())
            total[group.classes] += step
            if float(step.abs().max()) > options.tolerance:
                changed |= group.nodes
        active = [group for group in groups if not changed.isdisjoint(group.nodes)]
        if not active:
            break
    return total


def _magnitudes(layer: Layer) -> Float[Tensor, "groups out in"]:
    """max |W| over the kernel, for every pair of channels: all that the sweeps need."""
    weight = layer.grouped_weight().abs()
    return weight.reshape(*weight.shape[:3], -1).amax(-1)


def _wanted(
    group: _Group,
    sizes: dict[fx.Node, Tensor],
    now: Float[Tensor, " classes"],
    carried: Float[Tensor, " classes"],
    strength: float,
) -> Float[Tensor, " classes"]:
    """The logarithm of the scales that suit one group best, given those of the others."""
    produced = torch.stack([_ranges(side, sizes, 2, group) for side in group.producers]).to(now)
    consumed = torch.stack([_ranges(side, sizes, 1, group) for side in group.consumers]).to(now)
    scale = now.exp()
    return equalizing_scale(produced * scale, consumed / scale, carried, strength).log()


def _apply(group: _Group, sizes: dict[fx.Node, Tensor], scale: Float[Tensor, " classes"]) -> None:
    """Rescale the magnitudes of all layers of a group."""
    for side in group.producers:
        size = sizes[side.layer.node]
        size *= per_output(_factor(side, 1 / scale, size.shape[0] * size.shape[1]), size).to(size)
    for side in group.consumers:
        size = sizes[side.layer.node]
        size *= per_input(_factor(side, scale, size.shape[0] * size.shape[2]), size).to(size)


def _ranges(
    side: _Side, sizes: dict[fx.Node, Tensor], axis: int, group: _Group
) -> Float[Tensor, " classes"]:
    """max |W| of each class of a group in one layer."""
    values = sizes[side.layer.node].amax(axis).flatten()
    zeros = values.new_zeros(len(group.classes))
    positions, members = side.positions.to(values.device), side.members.to(values.device)
    return zeros.scatter_reduce(0, members, values[positions], "amax")


def _factor(side: _Side, scale: Float[Tensor, " classes"], channels: int) -> Tensor:
    """The scale of every channel of a layer: 1 for channels outside of the group."""
    return scale.new_ones(channels).scatter(0, side.positions, scale[side.members])


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
