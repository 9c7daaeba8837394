"""Ratios that are left out of a search have a damage between those of their neighbours."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.compression.between import thinned, with_left_out
from tersor.compression.parts import Part, Share
from tersor.compression.ways import Factored, Pruned

RATIOS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


def part(*methods, ratios=RATIOS):
    ways = tuple(
        Factored("layer", method, ratio, (round(100 * ratio),))
        for method in methods
        for ratio in ratios
    )
    return Part("layer", ways, tuple({"layer": Share(way.ratio, way.ratio)} for way in ways))


def test_every_other_ratio_of_an_iterated_method_is_left_out():
    few = thinned(part("spatial", "depthwise", "cp", ratios=RATIOS[:6]))
    of = lambda method: [way.ratio for way in few.ways if way.method == method]  # noqa: E731
    assert of("spatial") == list(RATIOS[:6])
    assert of("depthwise") == of("cp") == [0.9, 0.7, 0.5, 0.4]
    assert [share["layer"].macs for share in few.shares] == [way.ratio for way in few.ways]


@given(slope=st.floats(0.1, 20), first=st.floats(1e-6, 1), count=st.integers(1, len(RATIOS)))
def test_exponential_damage_is_found_exactly(slope, first, count):
    whole = part("depthwise", ratios=RATIOS[:count])
    damage = lambda way: first * math.exp(-slope * way.ratio)  # noqa: E731
    found = with_left_out(whole, [damage(way) for way in thinned(whole).ways])
    assert found == pytest.approx([damage(way) for way in whole.ways])


@given(damages=st.lists(st.floats(0, 10), min_size=5, max_size=5))
def test_damage_is_between_those_of_neighbours(damages):
    found = with_left_out(part("cp"), damages)
    assert found[::2] == damages
    for left, own, right in zip(damages, found[1::2], damages[1:], strict=False):
        assert min(left, right) * (1 - 1e-9) <= own <= max(left, right) * (1 + 1e-9)


def test_pruned_channels_are_all_tried():
    ways = tuple(Pruned("group", tuple(i < kept for i in range(9))) for kept in range(8, 0, -1))
    whole = Part("group", ways, tuple({"layer": Share(0.5, 0.5)} for _ in ways))
    assert thinned(whole) == whole
    assert with_left_out(whole, [float(i) for i in range(8)]) == [float(i) for i in range(8)]
