"""The units that fit into given MACs.

A knapsack problem: with a score for what a unit is worth, the units with the highest score per MAC
are kept (the Lagrangian relaxation), and where the next one no longer fits, others that do.

Where numbers of channels are to be multiples, a group keeps as many more units, the best of those
that would go, as make it one.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.compression.budget import TooSmallError
from tersor.compression.counts import Counts
from tersor.compression.groups import Group, UnitMask, UnitScores

_CLOSE = 1e-3  # of the MACs: near enough to the target
_TRIES = 200  # units that may still fit


def per_mac(scores: UnitScores, counts: Counts) -> dict[str, Float[Tensor, " units"]]:
    """Scores over the MACs that each unit costs.

    Args:
        scores: Name of a group → its scores.
        counts: Of the network.
    """
    costs = counts.marginal()
    return {name: scores[name] / cost.clamp(min=1e-12) for name, cost in costs.items()}


def fit_macs(
    scores: UnitScores, counts: Counts, target: float, multiple: int = 1
) -> dict[str, UnitMask]:
    """Keep the units with the highest scores of all, as many as fit.

    Args:
        scores: Name of a group → its scores; comparable between groups, see `per_mac`.
        counts: Of the network.
        target: Share of the MACs that may be left.
        multiple: How many a group keeps is a multiple of it, where it has more.

    Returns:
        Name of a group → which of its units stay.

    Raises:
        TooSmallError: Not even one channel everywhere fits.
    """
    least = least_score(scores, counts, target, multiple)
    keep = kept_above(counts.groups.found, scores, least, multiple)
    return _filled(keep, scores, counts, target, multiple)


def kept_above(
    groups: list[Group], scores: UnitScores, least: float, multiple: int = 1
) -> dict[str, UnitMask]:
    """Keep the units with a higher score, and what the network cannot do without.

    Args:
        groups: All groups that may lose units.
        scores: Name of a group → its scores.
        least: The score.
        multiple: As for `fit_macs`.
    """
    return {g.name: _kept(g, scores[g.name] > least, scores[g.name], multiple) for g in groups}


def _kept(group: Group, keep: UnitMask, scores: Float[Tensor, " units"], multiple: int) -> UnitMask:
    """At least some units of a group: what it cannot do without too, and a multiple of them."""
    keep, block = group.complete(keep, scores), group.block(multiple)
    count = min(math.ceil(int(keep.sum()) / block) * block, len(group))
    order = scores.argsort(descending=True, stable=True)
    keep[order[~keep[order]][: count - int(keep.sum())]] = True
    return keep


def least_score(scores: UnitScores, counts: Counts, target: float, multiple: int = 1) -> float:
    """The lowest score such that the units above it fit; −∞ if all of them do.

    Args:
        scores: As for `fit_macs`.
        counts: Of the network.
        target: Share of the MACs that may be left.
        multiple: As for `fit_macs`.

    Raises:
        TooSmallError: Not even one channel everywhere fits.
    """
    groups = counts.groups.found
    every = torch.cat([scores[group.name] for group in groups])
    steps = torch.cat([every.new_full((1,), -torch.inf), every]).unique().tolist()

    def used(place: int) -> float:
        return float(counts.expected(kept_above(groups, scores, steps[place], multiple)))

    low, high = 0, len(steps) - 1
    if (least := used(high)) > target:
        raise TooSmallError(int(target * counts.whole.macs), round(least * counts.whole.macs))
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if used(middle) <= target else (middle + 1, high)
    return steps[low]


def _filled(
    keep: dict[str, UnitMask], scores: UnitScores, counts: Counts, target: float, multiple: int
) -> dict[str, UnitMask]:
    """Add units that still fit, the best first, until the target is near enough."""
    left = [
        (float(scores[name][unit]), name, unit)
        for name, mask in keep.items()
        for unit in (~mask).nonzero().flatten().tolist()
    ]
    for _, name, unit in sorted(left, reverse=True)[:_TRIES]:
        more = keep[name].clone()
        more[unit] = True
        more = _kept(counts.groups[name], more, scores[name], multiple)
        used = float(counts.expected({**keep, name: more}))
        if used <= target:
            keep[name] = more
            if used > target - _CLOSE:
                break
    return keep
