"""Chooses the units that fit into a budget of MACs.

This is a knapsack problem. The units with the highest score per MAC are kept (the Lagrangian
relaxation). Once the next one no longer fits, others that do fit are added.

If numbers of channels must be multiples, a group keeps additional units, the best of those that
would be pruned, up to the next multiple.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.compression.budget import TooSmallError
from tersor.compression.counts import Counts
from tersor.compression.groups import Group, UnitMask, UnitScores

_CLOSE = 1e-3  # share of the MACs: close enough to the target
_TRIES = 200  # largest number of further units to try


def per_mac(scores: UnitScores, counts: Counts) -> dict[str, Float[Tensor, " units"]]:
    """Divide scores by the share of the MACs that each unit costs.

    Args:
        scores: Name of a group → its scores.
        counts: The counts of the network.
    """
    costs = counts.marginal()
    return {name: scores[name] / cost.clamp(min=1e-12) for name, cost in costs.items()}


def fit_macs(
    scores: UnitScores, counts: Counts, target: float, multiple: int = 1
) -> dict[str, UnitMask]:
    """Keep the units with the highest scores in the whole network, as many as fit.

    Args:
        scores: Name of a group → its scores; comparable between groups, see `per_mac`.
        counts: The counts of the network.
        target: Share of the MACs that may remain.
        multiple: A group with more units than this keeps a multiple of it.

    Returns:
        Name of a group → which of its units stay.

    Raises:
        TooSmallError: Not even one channel per group fits.
    """
    least = least_score(scores, counts, target, multiple)
    keep = kept_above(counts.groups.found, scores, least, multiple)
    return _filled(keep, scores, counts, target, multiple)


def kept_above(
    groups: list[Group], scores: UnitScores, least: float, multiple: int = 1
) -> dict[str, UnitMask]:
    """Keep the units above a score, and those that the network needs.

    Args:
        groups: All groups whose units may be pruned.
        scores: Name of a group → its scores.
        least: The score.
        multiple: As for `fit_macs`.
    """
    return {g.name: _kept(g, scores[g.name] > least, scores[g.name], multiple) for g in groups}


def _kept(group: Group, keep: UnitMask, scores: Float[Tensor, " units"], multiple: int) -> UnitMask:
    """Add the units that the network needs, and further ones up to a multiple."""
    keep, block = group.complete(keep, scores), group.block(multiple)
    count = min(math.ceil(int(keep.sum()) / block) * block, len(group))
    order = scores.argsort(descending=True, stable=True)
    keep[order[~keep[order]][: count - int(keep.sum())]] = True
    return keep


def least_score(scores: UnitScores, counts: Counts, target: float, multiple: int = 1) -> float:
    """Find the lowest score such that the units above it fit; −∞ if all of them do.

    Args:
        scores: As for `fit_macs`.
        counts: The counts of the network.
        target: Share of the MACs that may remain.
        multiple: As for `fit_macs`.

    Raises:
        TooSmallError: Not even one channel per group fits.
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
    """Add units that still fit, the best first, until the MACs are close enough to the target."""
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
