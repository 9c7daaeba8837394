"""A way for each part, all of them together: what they cost, whether that fits, and the edit.

Savings of different parts do not add up exactly: a layer of which both sides lose channels saves
less than the sum of both. So the budget that the parts are chosen for is moved until the network
that comes of it meets the one that was asked for.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tersor.compression.budget import Candidate, Curve, choose
from tersor.compression.chain_fit import Refit
from tersor.compression.factorize import factorize
from tersor.compression.meter import Counted, Left, Meter, Timed, choices, masks_of
from tersor.compression.on_data import OnLayer, factorize_with_data
from tersor.compression.prune import prune_groups
from tersor.compression.reconstruct import Reconstruct, reconstruct
from tersor.compression.ways import Factored, Part, Pruned, Way
from tersor.data.observe import Batch
from tersor.distributions.distribution import Distribution
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.names import BudgetRule

_CLOSE = 0.002  # of the cost before, or of the budget: close enough
_TRIES = 5


@dataclass(frozen=True)
class Execution:
    """What ways are carried out with.

    Attributes:
        batches: Unlabelled inputs; without any, weights alone are looked at.
        distributions: What is expected of channels that go, where there are no data.
        refit: How chains are fitted to the data.
        reconstruct: How layers that read pruned channels are fitted to them.
        on_layer: Called after each layer that is fitted.
    """

    batches: list[Batch] = field(default_factory=list)
    distributions: Mapping[str, Distribution] | None = None
    refit: Refit = Refit()  # noqa: RUF009
    reconstruct: Reconstruct = Reconstruct()  # noqa: RUF009
    on_layer: OnLayer | None = None


def ways_within(
    network: Network,
    parts: Sequence[Part],
    damages: Sequence[tuple[float, ...]],
    budget: int,
    meter: Meter = Counted(),  # noqa: B008
    rule: BudgetRule = "least loss",
) -> list[Way]:
    """The ways that damage least, or all equally, and fit into a budget.

    Args:
        network: The network; it stays as it is.
        parts: Its parts.
        damages: The damage of each of their ways.
        budget: What the network may cost.
        meter: What it is a budget of. That of time is met as far as times of layers multiply.
        rule: See `tersor.compression.budget`.

    Raises:
        InvalidInputError: The budget is too small for these parts.
    """
    each = meter.each(network)
    if sum(each.values()) <= budget:
        return []
    if not parts:
        raise InvalidInputError(
            "there is nothing to compress: every layer is refused or excluded; see the records of "
            "`tersor inspect`, allow more methods, or exclude less"
        )
    left = meter.left(network, parts)
    curves = [_curve(part, lost, each, left) for part, lost in zip(parts, damages, strict=True)]
    if isinstance(meter, Timed):
        return _bisect(curves, left, each, budget, meter.unit, rule)
    best, least, aim = list[Way](), 0, budget
    for _ in range(_TRIES):
        ways = _bisect(curves, left, each, aim, meter.unit, rule)
        cost = meter.cost(network, ways)
        if least < cost <= budget:
            best, least = ways, cost
        if 0 <= budget - cost < _CLOSE * sum(each.values()):
            break
        aim -= cost - budget
    if not best:
        raise InvalidInputError(
            f"a budget of {budget:,} {meter.unit} was not met: what the parts leave together was "
            "always more; raise it a little, or allow more methods"
        )
    return _spend(network, parts, best, budget, meter)


def _spend(
    network: Network, parts: Sequence[Part], ways: list[Way], budget: int, meter: Counted
) -> list[Way]:
    """Use what is left of the budget for single channels, between two of the shares tried."""

    def cost(ways: list[Way]) -> int:
        return meter.cost(network, ways)

    for place in range(len(ways)):
        if budget - cost(ways) < _CLOSE * budget:
            break
        choices = _next_units(parts, ways[place])
        larger = [[*ways[:place], choice, *ways[place + 1 :]] for choice in choices]
        ways = larger[bisect_right(larger, budget, lo=1, key=cost) - 1]
    return ways


def _next_units(parts: Sequence[Part], way: Way) -> list[Way]:
    """A way of pruning, and those with one, two, … multiples more, up to the next milder one."""
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


def _bisect(
    curves: Sequence[Curve],
    left: Left,
    each: Mapping[str, int],
    budget: int,
    unit: str,
    rule: BudgetRule,
) -> list[Way]:
    """The smallest saving to ask for, such that what comes of it fits."""
    before = sum(each.values())
    most = sum(max(c.cost for c in curve.candidates) for curve in curves)

    def tried(saving: int) -> tuple[list[Way], int]:
        ways = _chosen(curves, most - saving, rule)
        return ways, _estimate([left[way] for way in ways], each)

    best, found = tried(most)
    if found > budget:
        raise InvalidInputError(
            f"a budget of {budget:,} {unit} is too small: {found:,} of {before:,} are left if all "
            "parts are compressed as far as was tried; raise it, or allow more methods"
        )
    low, high = max(before - budget, 0), most
    ways, cost = tried(min(low, most))
    if cost <= budget:
        return ways
    while high - low > 1 and budget - found >= _CLOSE * before:
        middle = (low + high) // 2
        ways, cost = tried(middle)
        if cost > budget:
            low = middle
        else:
            high, best, found = middle, ways, cost
    return best


def _estimate(shares: Sequence[Mapping[str, float]], each: Mapping[str, int]) -> int:
    """What a network costs if what several ways leave of a layer multiplies."""
    left = dict.fromkeys(each, 1.0)
    for of_way in shares:
        for name, share in of_way.items():
            left[name] *= share
    return round(sum(cost * left[name] for name, cost in each.items()))


def _curve(part: Part, damages: tuple[float, ...], each: Mapping[str, int], left: Left) -> Curve:
    """Costs are counted from the smallest, so that they are positive and only savings matter."""
    saved = [
        round(sum(each[name] * (1 - share) for name, share in left[way].items()))
        for way in part.ways
    ]
    most = max(*saved, 0)
    ways = zip(part.ways, saved, damages, strict=True)
    found = [Candidate(way, most - less, lost) for way, less, lost in ways]
    return Curve(part.name, (Candidate(None, most, 0.0), *found))


def _chosen(curves: Sequence[Curve], budget: int, rule: BudgetRule) -> list[Way]:
    unnamed = [Curve(str(i), curve.candidates) for i, curve in enumerate(curves)]
    picked = choose(unnamed, budget, rule).values()
    return [c.what for c in picked if isinstance(c.what, Factored | Pruned)]


def carry_out(network: Network, ways: Sequence[Way], fit: Execution) -> None:
    """Prune, then factorize what is left.

    Args:
        network: Edited in place.
        ways: The ways.
        fit: What they are carried out with.
    """
    original = network.copy()
    masks = masks_of(ways)
    if masks:
        prune_groups(network, masks, None if fit.batches else fit.distributions)
        if fit.batches:
            reconstruct(network, original, masks, fit.batches, fit.reconstruct, fit.on_layer)
    found = choices(network, ways, bool(masks))
    if found and fit.batches:
        named = {layer.name: choice for layer, choice in found}
        factorize_with_data(network, named, fit.batches, fit.refit, fit.on_layer)
    elif found:
        for layer, choice in found:
            factorize(layer, choice)
