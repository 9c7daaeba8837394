"""The search for ways that are as fast as was asked for."""

import pytest

from tersor.compression import within_latency as timing
from tersor.compression.budget import TooSmallError
from tersor.compression.ways import Pruned, Way
from tersor.compression.within_latency import ways_in_time
from tersor.errors import InvalidInputError

WHOLE = 1_000_000


class Race(timing.Race):
    """The time that is left, by what the layers were asked to save."""

    def __init__(self, left):
        self.left = left

    def ratio(self, ways):
        (way,) = ways
        assert isinstance(way, Pruned)
        return self.left(1 - way.multiple / WHOLE)


def search(left, share, least=0.0):
    """Ways hold the budget, down to what the layers take at least."""
    asked = []

    def choose(budget) -> list[Way]:
        asked.append(budget)
        if budget < least * WHOLE:
            raise TooSmallError(int(budget), int(least * WHOLE))
        return [Pruned("conv", (True,), budget)]

    return ways_in_time(Race(left), choose, WHOLE, share), asked


LEFT = {
    "as asked": lambda saving: 1 - saving,
    "half of it": lambda saving: 1 - saving / 2,
    "more than asked": lambda saving: 1 - min(1.6 * saving, 0.95),
    "late": lambda saving: 1 - saving**2,
    "in steps": lambda saving: 1 - round(saving * 40) / 40,
}


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_what_was_asked_for_is_found(left, share):
    found, asked = search(left, share)
    assert found.ratio == left(1 - found.budget / WHOLE)
    assert 0.95 * share <= found.ratio <= 1.02 * share
    assert len(asked) <= 8


def test_what_cannot_be_had_bounds_the_search():
    found, asked = search(LEFT["half of it"], 0.7, least=0.41)
    assert found.ratio == pytest.approx(0.7, rel=0.02)
    assert min(asked) < 0.41 * WHOLE <= found.budget


def test_it_says_what_was_reached():
    with pytest.raises(
        InvalidInputError, match=r"could not reach latency=0\.6; the best attempt reached 0\.[78]"
    ):
        search(LEFT["half of it"], 0.6, least=0.5)


@pytest.mark.parametrize(("slow", "attempts"), [(0.64, 10), (0.8, 8)])
def test_what_is_almost_fast_enough_is_tried_further(slow, attempts):
    """The first nine files are too slow, however much the layers save."""
    times = iter([slow] * 9 + [0.6] * 9)
    seen = []

    def left(saving):
        seen.append(next(times))
        return seen[-1]

    if attempts > 8:
        assert search(left, 0.6)[0].ratio == 0.6
    else:
        with pytest.raises(InvalidInputError, match=r"reached 0\.8"):
            search(left, 0.6)
    assert len(seen) <= attempts
    assert (0.6 in seen) == (slow < 0.7)
