"""Lists what each part of a network can become: damage against cost, for `budget`.

The parts inside a residual branch that can be left out exclude this: a branch that is gone has no
layers to factorize. So they are one curve together. Of their combinations, those are offered that
are best at some price of the cost, damage + λ · cost: the lower convex hull.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from tersor.compression.budget import Candidate, Curve
from tersor.compression.parts import Part
from tersor.compression.ways import Dropped, Way

Tried = tuple[Part, Sequence[float]]  # a part, and the damage of each of its ways
Costs = Mapping[str, int]  # layer → its cost before compression
SharesLeft = Mapping[Way, Mapping[str, float]]  # way → layer → share of its cost that remains


@dataclass(frozen=True)
class _Option:
    """Ways that go together.

    Attributes:
        ways: The ways.
        left: The remaining share of each layer that they change.
        lost: Their damage.
    """

    ways: tuple[Way, ...] = ()
    left: tuple[tuple[str, float], ...] = ()
    lost: float = 0.0

    def with_way(self, way: Way, left: Mapping[str, float], lost: float) -> "_Option":
        both = dict(self.left)
        for name, share in left.items():
            both[name] = both.get(name, 1.0) * share
        return _Option((*self.ways, way), tuple(both.items()), self.lost + lost)

    def saved(self, each: Costs) -> int:
        return round(sum(each[name] * (1 - share) for name, share in self.left))


def curves(tried: Sequence[Tried], each: Costs, left: SharesLeft) -> list[Curve]:
    """List the candidates of every part, or of the parts of a branch; `what` is a tuple of ways.

    Args:
        tried: The parts with their damages.
        each: Layer name → its cost before compression.
        left: The remaining shares with each way.
    """
    return [_curve(together, each, left) for together in _bundles(tried)]


def _bundles(tried: Sequence[Tried]) -> list[list[Tried]]:
    """Group the parts of each branch that can be left out; every other part is alone."""
    owner = {
        name: number
        for number, (part, _) in enumerate(tried)
        if isinstance(part.ways[0], Dropped)
        for name in part.shares[0]
    }
    found: dict[object, list[Tried]] = {}
    for number, each in enumerate(tried):
        owners = {owner.get(name) for name in each[0].shares[0]}
        inside = next(iter(owners)) if len(owners) == 1 else None
        found.setdefault(("alone", number) if inside is None else inside, []).append(each)
    return list(found.values())


def _curve(together: Sequence[Tried], each: Costs, left: SharesLeft) -> Curve:
    """Build the curve of a part, or of a branch; only its best combinations are kept on the way."""
    options, apart = [_Option()], list[_Option]()
    for part, damages in together:
        ways = list(zip(part.ways, damages, strict=True))
        if isinstance(part.ways[0], Dropped):
            apart += [_Option().with_way(way, left[way], lost) for way, lost in ways]
            continue
        options += [o.with_way(way, left[way], lost) for o in options for way, lost in ways]
        if len(together) > 1:
            hull = _hull(_offered(part.name, options, each).front())
            options = [cast("_Option", candidate.what) for candidate in hull.candidates]
    found = _offered(together[0][0].name, [*options, *apart], each)
    found = found if len(together) == 1 else _hull(found.front())
    ways_of = [cast("_Option", candidate.what).ways for candidate in found.candidates]
    pairs = zip(found.candidates, ways_of, strict=True)
    return Curve(found.part, tuple(replace(each, what=ways) for each, ways in pairs))


def _offered(name: str, options: Sequence[_Option], each: Costs) -> Curve:
    """Options as candidates; costs are relative to the largest saving, so none is negative."""
    saved = [option.saved(each) for option in options]
    most = max(*saved, 0)
    pairs = zip(options, saved, strict=True)
    return Curve(name, tuple(Candidate(option, most - less, option.lost) for option, less in pairs))


def _hull(front: Curve) -> Curve:
    """Keep the candidates that are best at some price of the cost.

    Args:
        front: Candidates of falling cost and rising damage.
    """
    kept = list[Candidate]()
    for candidate in front.candidates:
        while len(kept) > 1 and not _is_below(kept[-1], kept[-2], candidate):
            kept.pop()
        kept.append(candidate)
    return Curve(front.part, tuple(kept))


def _is_below(middle: Candidate, before: Candidate, after: Candidate) -> bool:
    """Whether a candidate is below the line between its neighbours."""
    saved, lost = before.cost - middle.cost, middle.damage - before.damage
    return lost * (before.cost - after.cost) < (after.damage - before.damage) * saved
