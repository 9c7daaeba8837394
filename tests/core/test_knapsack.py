"""The knapsack against all choices that there are, and against an integer program solver."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from tersor.core.knapsack import knapsack
from tersor.errors import InvalidInputError

LAYERS, CHOICES = st.integers(1, 5), st.integers(1, 4)


@st.composite
def problems(draw):
    shape = (draw(LAYERS), draw(CHOICES))
    count = shape[0] * shape[1]
    exponents = st.floats(-12, 6)
    costs = draw(st.lists(exponents.map(lambda x: 10**x), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(1, 1000), min_size=count, max_size=count))
    return np.reshape(costs, shape), np.reshape(sizes, shape), draw(st.integers(1, 1000 * shape[0]))


def total(values, choice):
    return values[np.arange(len(choice)), choice].sum()


def best(costs, sizes, budget):
    """The least total cost of all choices, or None if none fits."""
    every = itertools.product(range(costs.shape[1]), repeat=len(costs))
    fitting = [total(costs, c) for c in map(np.array, every) if total(sizes, c) <= budget]
    return min(fitting, default=None)


@given(problems())
def test_no_choice_is_better(problem):
    costs, sizes, budget = problem
    want = best(costs, sizes, budget)
    if want is None:
        with pytest.raises(InvalidInputError, match=f"is {sizes.min(1).sum():,}$"):
            knapsack(costs, sizes, budget)
        return
    choice = knapsack(costs, sizes, budget)
    assert total(sizes, choice) <= budget
    assert total(costs, choice) == pytest.approx(want, rel=1e-12)


@given(problems(), st.integers(0, 19))
def test_infinite_costs_are_avoided(problem, where):
    costs, sizes, _ = problem
    costs = np.hstack((costs, np.full((len(costs), 1), 1e7)))
    sizes = np.hstack((sizes, np.full((len(sizes), 1), 2000)))
    costs.flat[where % costs.size] = np.inf
    budget = int(sizes.max(1).sum())
    assert np.isfinite(total(costs, knapsack(costs, sizes, budget)))


@pytest.mark.parametrize("seed", range(5))
def test_many_layers_are_as_cheap_as_an_integer_program_finds(seed):
    random = np.random.default_rng(seed)
    layers, bits = 60, np.array([2, 3, 4, 8])
    weights = random.integers(1, 200, layers)
    sizes, budget = weights[:, None] * bits, int(4 * weights.sum())
    costs = np.exp(random.normal(size=(layers, 1))) * 4.0**-bits
    choice = knapsack(costs, sizes, budget)
    one_each = np.kron(np.eye(layers), np.ones(len(bits)))
    found = milp(
        1e6 * costs.ravel(),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(sizes.reshape(1, -1), ub=budget),
        ],
        integrality=1,
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    assert total(sizes, choice) <= budget
    assert total(costs, choice) == pytest.approx(found.fun / 1e6, rel=1e-6)


def test_equally_cheap_choices_are_small():
    assert knapsack(np.zeros((2, 3)), np.array([[5, 2, 3], [1, 1, 9]]), 100).tolist() == [1, 0]


def test_costs_that_are_none():
    with pytest.raises(InvalidInputError, match="costs of layer 1 are NaN"):
        knapsack(np.array([[1.0], [np.nan]]), np.ones((2, 1), int), 5)
    with pytest.raises(InvalidInputError, match="every choice of layer 1 costs infinity"):
        knapsack(np.array([[1.0], [np.inf]]), np.ones((2, 1), int), 5)
