"""Curves of parts: what is offered of a branch is what is best at some price."""

from itertools import product
from random import Random

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from tersor.compression.budget import Candidate, Curve
from tersor.compression.curves import _hull, curves
from tersor.compression.parts import Part, Share
from tersor.compression.residual_branches import Branch
from tersor.compression.ways import Dropped, Factored


def test_the_hull_is_what_is_best_at_some_price():
    generator = torch.manual_seed(3)
    costs_, lost = torch.randint(1000, (2, 60), generator=generator).tolist()
    pairs = zip(costs_, lost, strict=True)
    every = Curve("x", tuple(Candidate(n, c, float(d)) for n, (c, d) in enumerate(pairs)))
    kept = _hull(every.front()).candidates
    prices = torch.logspace(-3, 3, 4001).tolist()
    best = {min(c.damage + price * c.cost for c in every.candidates) for price in prices}
    of_kept = {min(c.damage + price * c.cost for c in kept) for price in prices}
    assert best == of_kept
    needed = {min(every.candidates, key=lambda c: c.damage + p * c.cost).what for p in prices}
    assert needed == {c.what for c in kept}


def _made_up(layers_: int, ways: int, seed: int):
    """A branch of so many layers, each with ways of random cost and damage, and their costs."""
    random, names = Random(seed), tuple(f"layer {n}" for n in range(layers_))  # noqa: S311
    gone = Dropped(Branch("sum", "trunk", names[-1], names))
    parts = [Part(names[-1], (gone,), (dict.fromkeys(names, Share(0, 0)),))]
    left = {gone: dict.fromkeys(names, 0.0)}
    for name in names:
        every = tuple(Factored(name, "svd", n / ways, (n,)) for n in range(1, ways + 1))
        left |= {way: {name: random.random()} for way in every}
        shares = tuple({name: Share(left[way][name], 1)} for way in every)
        parts.append(Part(name, every, shares))
    lost = [tuple(random.random() for _ in part.ways) for part in parts]
    return (
        list(zip(parts, lost, strict=True)),
        {name: random.randrange(999) for name in names},
        left,
    )


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 999))
def test_the_best_of_all_combinations_are_offered(layers_, ways, seed):
    tried, each, left = _made_up(layers_, ways, seed)
    (curve,) = curves(tried, each, left)
    ((_, (alone,)), *others) = tried
    choices = [[None, *zip(part.ways, lost, strict=True)] for part, lost in others]
    every = [(0.0, 0.0), (alone, sum(each.values()))]
    for picked in product(*choices):
        chosen = [choice for choice in picked if choice]
        saved = sum(each[way.layer] * (1 - left[way][way.layer]) for way, _ in chosen)
        every.append((sum(lost for _, lost in chosen), saved))
    most = max(c.cost for c in curve.candidates)
    for price in (1e-4, 1e-3, 3e-3, 1e-2):
        best = min(lost - price * saved for lost, saved in every)
        offered = min(c.damage - price * (most - c.cost) for c in curve.candidates)
        assert offered == pytest.approx(best, abs=price * len(others))


def test_many_layers_with_many_ways_are_a_short_curve():
    (curve,) = curves(*_made_up(8, 40, 0))  # 41⁸ combinations
    assert len(curve.candidates) < 8 * 40
