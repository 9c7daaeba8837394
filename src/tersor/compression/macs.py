"""MACs by channel units, and the units that fit into given MACs.

    E[MACs] = Σ_layers MACs_l · mean P(input stays) · mean P(output stays)

A depthwise layer has the second factor only. Choosing units for a budget is a knapsack problem:
with a score for what a unit is worth, the units with the highest score per MAC are kept (the
Lagrangian relaxation), and where the next one no longer fits, others that do.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tersor.compression.groups import Group, Groups, channel_groups
from tersor.errors import InvalidInputError
from tersor.graph.costs import batch_size, layer_macs
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.graph.shapes import shapes

Scores = Mapping[str, Float[Tensor, " units"]]
Keep = Mapping[str, Bool[Tensor, " units"]]

_CLOSE = 1e-3  # of the MACs: near enough to the target
_TRIES = 200  # units that may still fit


class Macs:
    """The MACs of a network for one sample, by how likely each unit of its groups is to stay.

    Attributes:
        groups: The groups of the network.
        total: All of them, if every unit stays.
    """

    def __init__(self, network: Network) -> None:
        groups = channel_groups(network)
        self.groups = groups.found
        places = _places(groups)
        into = {port.layer.node: places[port.classes] for port in groups.partition.consumers}
        out = {port.layer.node: places[port.classes] for port in groups.partition.producers}
        stored = [layer for layer in layers(network) if layer.has_stored_weight]
        always = places.new_full((1,), -1)
        self._costs: list[tuple[int, Tensor, Tensor]] = []
        seen, batch = shapes(network), batch_size(network)
        for layer in stored:
            reads = always if layer.is_depthwise else into.get(layer.node, always)
            macs = layer_macs(layer, seen, batch)
            self._costs.append((macs, reads, out.get(layer.node, always)))
        self.total = sum(macs for macs, _, _ in self._costs)

    def expected(self, stays: Scores | Keep) -> Float[Tensor, ""]:
        """E[MACs] / MACs: exact where every unit stays or goes; else as if units were independent.

        Args:
            stays: Name of a group → how likely each of its units is to stay, or whether it does.
        """
        found = [stays[group.name] for group in self.groups]
        likely = torch.cat([*found, found[0].new_ones(1)])
        likely = likely if likely.is_floating_point() else likely.double()
        parts = [macs * likely[i].mean() * likely[o].mean() for macs, i, o in self._costs]
        return torch.stack(parts).sum() / self.total

    def marginal(self, keep: Keep | None = None) -> dict[str, Float[Tensor, " units"]]:
        """Name of a group → the share of the MACs that goes with each of its units alone.

        Args:
            keep: Which units there are; default: all.
        """
        stays = {
            group.name: torch.ones(len(group)) if keep is None else keep[group.name].float()
            for group in self.groups
        }
        leaves = [stay.requires_grad_() for stay in stays.values()]
        with torch.enable_grad():
            found = torch.autograd.grad(self.expected(stays), leaves)
        return dict(zip(stays, found, strict=True))


def _places(groups: Groups) -> Int[Tensor, " classes"]:
    """The place of each class among the units of all groups; −1 for those that stay anyway."""
    places = torch.full((groups.partition.count,), -1)
    count = 0
    for group in groups.found:
        places[group.units] = torch.arange(count, count + len(group))
        count += len(group)
    return places


def per_mac(scores: Scores, macs: Macs) -> dict[str, Float[Tensor, " units"]]:
    """Scores over the MACs that each unit costs.

    Args:
        scores: Name of a group → its scores.
        macs: Of the network.
    """
    costs = macs.marginal()
    return {name: score / costs[name].clamp(min=1e-12) for name, score in scores.items()}


def fit_macs(
    groups: list[Group], scores: Scores, macs: Macs, target: float
) -> dict[str, Bool[Tensor, " units"]]:
    """Keep the units with the highest scores of all, as many as fit.

    Args:
        groups: All groups of the network.
        scores: Name of a group → its scores; comparable between groups, see `per_mac`.
        macs: Of the network.
        target: Share of the MACs that may be left.

    Returns:
        Name of a group → which of its units stay.

    Raises:
        InvalidInputError: Not even one channel everywhere fits.
    """
    least = least_score(groups, scores, macs, target)
    return _filled(kept_above(groups, scores, least), scores, macs, target)


def kept_above(
    groups: list[Group], scores: Scores, least: float
) -> dict[str, Bool[Tensor, " units"]]:
    """Keep the units with a higher score, and what the network cannot do without.

    Args:
        groups: All groups of the network.
        scores: Name of a group → its scores.
        least: The score.
    """
    found = ((group, scores[group.name]) for group in groups)
    return {group.name: group.complete(score > least, score) for group, score in found}


def least_score(groups: list[Group], scores: Scores, macs: Macs, target: float) -> float:
    """The lowest score such that the units above it fit; −∞ if all of them do.

    Args:
        groups: As for `fit_macs`.
        scores: Idem.
        macs: Idem.
        target: Idem.

    Raises:
        InvalidInputError: Not even one channel everywhere fits.
    """
    every = torch.cat([scores[group.name] for group in groups])
    steps = torch.cat([every.new_full((1,), -torch.inf), every]).unique().tolist()

    def used(place: int) -> float:
        return float(macs.expected(kept_above(groups, scores, steps[place])))

    low, high = 0, len(steps) - 1
    if (least := used(high)) > target:
        raise InvalidInputError(
            f"{target:g} of the MACs cannot be reached: one channel everywhere takes {least:.3g}"
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if used(middle) <= target else (middle + 1, high)
    return steps[low]


def _filled(
    keep: dict[str, Bool[Tensor, " units"]], scores: Scores, macs: Macs, target: float
) -> dict[str, Bool[Tensor, " units"]]:
    """Add units that still fit, the best first, until the target is near enough."""
    left = [
        (float(scores[name][unit]), name, unit)
        for name, mask in keep.items()
        for unit in (~mask).nonzero().flatten().tolist()
    ]
    for _, name, unit in sorted(left, reverse=True)[:_TRIES]:
        keep[name][unit] = True
        used = float(macs.expected(keep))
        if used > target:
            keep[name][unit] = False
        elif used > target - _CLOSE:
            break
    return keep
