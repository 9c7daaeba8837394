"""Ways between two tried ones: which are tried, and the damage of the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.compression.between import all_damages, tried_ways
from tersor.compression.ways import Factored, Pruned


def ways(*counts):
    """So many ways of each method in turn; the last number is of pruning."""
    *layers, pruned = counts
    names = ("svd", "spatial", "tucker")
    found = [Factored("a", names[i], 0.5, (1,)) for i, n in enumerate(layers) for _ in range(n)]
    return [*found, *(Pruned("b", (True,)) for _ in range(pruned))]


@given(st.lists(st.integers(0, 6), min_size=2, max_size=4))
def test_both_neighbours_of_every_other_way_are_tried(counts):
    given_ways = ways(*counts)
    tried, start = tried_ways(given_ways), 0
    for count in counts:
        run = range(start, start + count)
        if count:
            assert {run[0], run[-1]} <= {*tried}
        for number in {*run} - {*tried}:
            assert {number - 1, number + 1} <= {*tried} & {*run}
        start += count
    assert tried == sorted({*tried})


@given(st.floats(-20, 0), st.floats(0, 2), st.integers(1, 9))
def test_exponential_damage_is_exact(start, slope, count):
    exact = [10 ** (start + slope * i) for i in range(count)]
    tried = {i: exact[i] for i in tried_ways(ways(count, 0))}
    assert all_damages(tried, count) == pytest.approx(exact)


def test_a_metric_may_be_zero_or_negative():
    assert all_damages({0: -2.0, 2: 1.0, 4: 0.0}, 5) == (-2.0, -0.5, 1.0, 0.5, 0.0)
