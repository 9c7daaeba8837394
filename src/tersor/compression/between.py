"""Damages of ways that are not tried: Ω(c) = √(Ω(c₋) · Ω(c₊)), c₋ and c₊ the tried ratios beside c.

The damage of a part grows about exponentially as less of it remains, so its logarithm is nearly
straight between neighbours. Every second way of a part is tried, and the mildest and the strongest
of each method. A metric may be zero or negative; the plain mean is taken there.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from tersor.compression.ways import Factored, Way


def tried_ways(ways: Sequence[Way]) -> list[int]:
    """Number the ways to try, so that both neighbours of every other way are among them.

    Args:
        ways: The ways of a part, by method, from mild to strong.
    """
    found: list[int] = []
    for _, run in groupby(range(len(ways)), lambda i: _method(ways[i])):
        numbers = list(run)
        found += sorted({*numbers[::2], numbers[-1]})
    return found


def all_damages(tried: Mapping[int, float], count: int) -> tuple[float, ...]:
    """List the damage of every way.

    Args:
        tried: The damages of the ways that `tried_ways` numbers, by number.
        count: The number of ways.
    """
    return tuple(
        tried[i] if i in tried else _middle(tried[i - 1], tried[i + 1]) for i in range(count)
    )


def _middle(a: float, b: float) -> float:
    return (a * b) ** 0.5 if a > 0 and b > 0 else (a + b) / 2


def _method(way: Way) -> str:
    return way.method if isinstance(way, Factored) else "prune"
