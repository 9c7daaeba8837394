"""log Ω(c) is linear in c between two ratios that were tried: fewer decompositions for a search.

A decomposition that takes many sweeps costs more than all else that is done for one way of a part.
Its error falls smoothly as ranks grow, so every other ratio is left out, and its damage follows
from those of both neighbours. The first and the last ratio are tried.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from tersor.compression.parts import Part
from tersor.compression.ways import Factored, Way
from tersor.core.refit import ITERATED


def thinned(part: Part) -> Part:
    """Leave out the ways of a part whose damage follows from those of others.

    Args:
        part: The part.
    """
    places = sorted(place for some in _tried(part.ways) for place in some)
    ways, shares = (tuple(each[place] for place in places) for each in (part.ways, part.shares))
    return replace(part, ways=ways, shares=shares)


def with_left_out(part: Part, damages: Sequence[float]) -> list[float]:
    """The damage of every way of a part.

    Args:
        part: The part.
        damages: The damages of the ways that `thinned` keeps.
    """
    known = dict(zip(thinned(part).ways, damages, strict=True))
    for some in _tried(part.ways):
        for first, last in pairwise(some):
            for place in range(first + 1, last):
                ends = part.ways[first], part.ways[last]
                known[part.ways[place]] = _between(part.ways[place], ends, known)
    return [known[way] for way in part.ways]


def _tried(ways: Sequence[Way]) -> Iterator[list[int]]:
    """The places of the ways that are tried, of one method after the other."""
    for method, some in groupby(range(len(ways)), lambda place: _method(ways[place])):
        places = list(some)
        yield [*places[:-1:2], places[-1]] if method else places


def _method(way: Way) -> str | None:
    """The decomposition of a way if it takes many sweeps, or None."""
    return way.method if isinstance(way, Factored) and way.method in ITERATED else None


def _between(way: Way, ends: tuple[Way, Way], known: dict[Way, float]) -> float:
    """The damage of a way between two others, or the mean if one of these does no damage."""
    ratios = [each.ratio for each in (way, *ends) if isinstance(each, Factored)]
    own, first, last = ratios
    share = (own - first) / (last - first)
    damages = [known[end] for end in ends]
    if min(damages) <= 0:
        return (1 - share) * damages[0] + share * damages[1]
    logs = [math.log(damage) for damage in damages]
    return math.exp((1 - share) * logs[0] + share * logs[1])
