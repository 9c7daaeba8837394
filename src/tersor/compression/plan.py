"""Chooses a way for each part such that the network meets a budget, and carries the ways out.

The savings of parts are not exactly additive: if a layer loses both input and output channels, it
saves less than the sum of both. So the budget that is given to the choice is adjusted until the
resulting network meets the requested budget.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from tersor.compression.budget import Curve, TooSmallError, choose
from tersor.compression.chain_fit import Refit
from tersor.compression.counts import Counts
from tersor.compression.curves import curves
from tersor.compression.factorize import factorize
from tersor.compression.meter import Counted, Meter, SharesLeft, Timed
from tersor.compression.on_data import Chains
from tersor.compression.parts import Part
from tersor.compression.prune import prune_groups
from tersor.compression.reconstruct import Reconstruct, reconstruct
from tersor.compression.residual_branches import leave_out
from tersor.compression.ways import Pruned, Way, dropped_in, masks_of
from tersor.data.walk.observe import Batch
from tersor.data.walk.shelf import Shelf
from tersor.distributions.distribution import Distribution
from tersor.errors import InvalidInputError
from tersor.graph.layers import layers
from tersor.graph.network import Network, OnLayer
from tersor.names import BudgetRule

_CLOSE = 0.002  # tolerance, as a share of the original cost, or of the budget
_TRIES = 5


@dataclass(frozen=True)
class Execution:
    """How ways are carried out.

    Attributes:
        batches: Unlabelled inputs. Without any, only the weights are used.
        distributions: Distributions of the channels to be pruned, for a run without data.
        refit: How chains are fitted to the data.
        reconstruct: How the layers that read pruned channels are fitted to the data.
        on_layer: Called after each layer that is fitted.
        shelf: Keeps the values of the samples; by default one that has room for all.
    """

    batches: Sequence[Batch] = field(default_factory=list)
    distributions: Mapping[str, Distribution] | None = None
    refit: Refit = Refit()  # noqa: RUF009
    reconstruct: Reconstruct = Reconstruct()  # noqa: RUF009
    on_layer: OnLayer | None = None
    shelf: Shelf | None = None


def ways_within(
    meter: Meter,
    parts: Sequence[Part],
    damages: Sequence[tuple[float, ...]],
    budget: int,
    rule: BudgetRule = "least loss",
) -> list[Way]:
    """Choose the ways of least damage, or of equal damage, that fit into a budget.

    Args:
        meter: Measures the cost of the network. A budget of latency is met only approximately, as
            the remaining shares of a layer are multiplied.
        parts: The parts of the network.
        damages: The damage of each of their ways.
        budget: The cost that may remain.
        rule: See `tersor.compression.budget`.

    Raises:
        TooSmallError: The budget is too small for these parts.
        InvalidInputError: There is no part.
    """
    each = meter.each
    if sum(each.values()) <= budget:
        return []
    if not parts:
        raise InvalidInputError(
            "there is nothing to compress: every layer is refused or excluded. See the records of "
            "`tersor inspect`, allow more methods, or exclude fewer layers"
        )
    left = meter.left(parts)
    tried = list(zip(parts, damages, strict=True))
    search = _Search(curves(tried, each, left), left, each, rule)
    if isinstance(meter, Timed):
        ways, cost = search.within(budget)
        if cost > budget:
            raise TooSmallError(budget, cost)
        return ways
    return _spend(parts, _met(search, budget, meter), budget, meter)


def _met(search: "_Search", budget: int, meter: Counted) -> list[Way]:
    """Adjust the budget of the choice until the resulting network meets the requested budget."""
    best, most, least, aim = list[Way](), 0, sum(search.each.values()), budget
    step, same = 0, list[Way]()
    for _ in range(_TRIES):
        ways, _ = search.within(aim)
        cost = meter.cost(ways)
        least = min(cost, least)
        if most < cost <= budget:
            best, most = ways, cost
        if 0 <= budget - cost < _CLOSE * sum(search.each.values()):
            break
        step, same = (2 * step if ways == same else cost - budget), ways
        aim -= step
    if not best:
        raise TooSmallError(budget, least)
    return best


def _spend(parts: Sequence[Part], ways: list[Way], budget: int, meter: Counted) -> list[Way]:
    """Spend the rest of the budget on single channels, between two of the ratios tried."""
    for place in range(len(ways)):
        if budget - meter.cost(ways) < _CLOSE * budget:
            break
        choices = _next_units(parts, ways[place])
        larger = [[*ways[:place], choice, *ways[place + 1 :]] for choice in choices]
        ways = larger[bisect_right(larger, budget, lo=1, key=meter.cost) - 1]
    return ways


def _next_units(parts: Sequence[Part], way: Way) -> list[Way]:
    """A way of pruning, and those that keep one, two, … multiples more, up to the next milder."""
    if not isinstance(way, Pruned):
        return [way]
    kept = sum(way.keep)
    group = next(part for part in parts if way in part.ways)
    milder = [w.keep for w in group.ways if isinstance(w, Pruned) and sum(w.keep) > kept]
    target = min(milder, key=sum, default=(True,) * len(way.keep))
    found: list[Way] = [way]
    keep = list(way.keep)
    for unit in (i for i, stays in enumerate(target) if stays and not way.keep[i]):
        keep[unit] = True
        if sum(keep) % way.multiple == 0:
            found.append(Pruned(way.group, tuple(keep), way.multiple))
    return found


@dataclass(frozen=True)
class _Search:
    """Searches ways by estimated cost: the remaining shares of a layer are multiplied.

    Attributes:
        curves: Damage against saving, for each part.
        left: The remaining share of each layer with each way.
        each: Layer name → its cost before compression.
        rule: See `tersor.compression.budget`.
    """

    curves: Sequence[Curve]
    left: SharesLeft
    each: Mapping[str, int]
    rule: BudgetRule

    def within(self, budget: int) -> tuple[list[Way], int]:
        """Find the ways of the smallest saving that fits, and return them with their cost.

        Args:
            budget: The cost that may remain. If nothing fits, the ways of the largest saving are
                returned.
        """
        before = sum(self.each.values())
        most = sum(max(c.cost for c in curve.candidates) for curve in self.curves)
        best, found = self._saving(most, most)
        if found > budget:
            return best, found
        low, high = max(before - budget, 0), most
        ways, cost = self._saving(min(low, most), most)
        if cost <= budget:
            return ways, cost
        while high - low > 1 and budget - found >= _CLOSE * before:
            middle = (low + high) // 2
            ways, cost = self._saving(middle, most)
            if cost > budget:
                low = middle
            else:
                high, best, found = middle, ways, cost
        return best, found

    def _saving(self, saving: int, most: int) -> tuple[list[Way], int]:
        ways = _chosen(self.curves, most - saving, self.rule)
        return ways, _estimate([self.left[way] for way in ways], self.each)


def _estimate(shares: Sequence[Mapping[str, float]], each: Mapping[str, int]) -> int:
    """Estimate the cost of a network by multiplying the remaining shares of each layer."""
    left = dict.fromkeys(each, 1.0)
    for of_way in shares:
        for name, share in of_way.items():
            left[name] *= share
    return round(sum(cost * left[name] for name, cost in each.items()))


def _chosen(curves: Sequence[Curve], budget: int, rule: BudgetRule) -> list[Way]:
    unnamed = [Curve(str(i), curve.candidates) for i, curve in enumerate(curves)]
    picked = choose(unnamed, budget, rule).values()
    return [way for candidate in picked for way in cast("tuple[Way, ...]", candidate.what)]


def carry_out(counts: Counts, ways: Sequence[Way], execution: Execution) -> Network:
    """Prune the network, leave out branches, then factorize the layers that remain.

    Args:
        counts: The counts of the network, which is not changed.
        ways: The ways.
        execution: How they are carried out.

    Returns:
        The smaller network.
    """
    network, batches = counts.network.copy(), execution.batches
    masks, choices = masks_of(ways), counts.choices(ways)
    if masks:
        expected = None if batches else execution.distributions
        prune_groups(network, masks, expected, counts.groups.in_copy(network))
    constants = leave_out(network, dropped_in(ways))
    if batches:
        given = counts.network, masks, batches, execution.reconstruct, execution.on_layer
        chains = Chains(choices, counts.sizes, execution.refit)
        reconstruct(network, *given, counts.groups, chains, constants, execution.shelf)
        return network
    for layer in [layer for layer in layers(network) if layer.name in choices]:
        factorize(layer, choices[layer.name], sizes=counts.sizes[layer.name])
    return network
