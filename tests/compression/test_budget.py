"""Candidates under a budget."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.compression.budget import Candidate, Curve, choose
from tersor.errors import InvalidInputError

pairs = st.tuples(st.integers(1, 40), st.integers(1, 40))  # cost, damage in eighths
parts = st.lists(st.lists(pairs, min_size=1, max_size=4), min_size=1, max_size=4)


def curves_of(found):
    return [
        Curve(str(i), tuple(Candidate(None, cost, eighths / 8) for cost, eighths in pairs))
        for i, pairs in enumerate(found)
    ]


def total(chosen, what):
    return sum(getattr(candidate, what) for candidate in chosen)


def within(curves, budget):
    """Every choice that the budget allows."""
    choices = product(*(curve.candidates for curve in curves))
    return [choice for choice in choices if total(choice, "cost") <= budget]


@given(parts, st.integers(1, 160), st.sampled_from(["least loss", "equal loss"]))
def test_the_best_choice_within_the_budget(found, budget, rule):
    curves = curves_of(found)
    possible = within(curves, budget)
    if not possible:
        with pytest.raises(InvalidInputError, match="too small"):
            choose(curves, budget, rule)
        return
    chosen = choose(curves, budget, rule)
    assert list(chosen) == [curve.part for curve in curves]
    picked = list(chosen.values())
    assert total(picked, "cost") <= budget
    if rule == "least loss":
        assert total(picked, "damage") == min(total(choice, "damage") for choice in possible)
    else:
        worst = max(candidate.damage for candidate in picked)
        assert worst == min(max(c.damage for c in choice) for choice in possible)


@given(parts, st.sampled_from(["least loss", "equal loss"]))
def test_nothing_is_damaged_if_all_fits(found, rule):
    curves = curves_of(found)
    chosen = choose(curves, 1000, rule)
    for curve in curves:
        assert chosen[curve.part].damage == min(c.damage for c in curve.candidates)


def test_what_is_left_over_is_spent():
    """At the level of part a, part b could be smaller than it has to be."""
    a = Curve("a", (Candidate("all", 10, 0.0), Candidate("half", 5, 1.0)))
    b = Curve("b", (Candidate("all", 10, 0.0), Candidate("half", 5, 0.9)))
    chosen = choose([a, b], 15, "equal loss")
    assert sorted(str(candidate.what) for candidate in chosen.values()) == ["all", "half"]


def test_nan_is_named():
    with pytest.raises(InvalidInputError, match="'conv1' is NaN"):
        choose([Curve("conv1", (Candidate("rank 3", 1, float("nan")),))], 10)
