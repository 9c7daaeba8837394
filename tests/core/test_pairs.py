"""Pairs that share a lane: which they are, and which integers are exact in 16 bits."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.core.grid import Grid
from tersor.core.pairs import are_safe, beside, lane_partners

INT8 = Grid(8, signed=True, symmetric=True)


@given(st.integers(1, 9), st.integers(1, 9))
def test_neighbours_meet_once_channels_are_last(inputs, taps):
    partner = lane_partners(inputs, taps)
    names = [(channel, tap) for channel in range(inputs) for tap in range(taps)]
    lanes = sorted(names, key=lambda name: (name[1], name[0]))
    want = {lane: lane for lane in lanes}
    for one, other in zip(lanes[::2], lanes[1::2], strict=False):
        want[one], want[other] = other, one
    assert [names[j] for j in partner.tolist()] == [want[name] for name in names]


def saturating(weights) -> set[int]:
    """`vpmaddubsw` of two weights with the activations that could overflow: all 0 or 255."""
    sums = (a * weights[0] + b * weights[1] for a, b in itertools.product((0, 255), repeat=2))
    return {max(-(2**15), min(2**15 - 1, total)) - total for total in sums}


@given(st.integers(-128, 127), st.integers(-128, 127))
def test_a_pair_is_safe_if_16_bits_hold_every_sum(one, other):
    exact = saturating((one, other)) == {0}
    row = torch.tensor([float(one), float(other), 127.0])
    assert bool(are_safe(row, torch.tensor([1, 0, 2]), INT8)) == exact
    low, high = beside(torch.tensor([float(other)]), INT8)
    assert bool(low <= one <= high) == exact
