"""Scores of channels, and the LASSO, against what they stand for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tersor.core.channel_scores import fisher, magnitude, signs, taylor
from tersor.core.lasso import contributions, lasso, strongest


def data(seed, groups=1, outputs=3, units=5, taps=2, samples=40):
    """x by unit and tap, and the weights of a layer that reads it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, units * taps, samples, dtype=torch.float64, generator=generator)
    weights = torch.randn(groups, outputs, units * taps, dtype=torch.float64, generator=generator)
    return x, weights


def test_magnitude():
    assert torch.allclose(
        magnitude(torch.tensor([[3.0, 1.0], [0.0, 0.0]])).square(), torch.tensor([1.5, 0.5])
    )
    both = magnitude(torch.tensor([[3.0, 1.0], [10.0, 30.0]]))
    assert torch.allclose(both.square(), torch.tensor([2.0, 2.0]))


def test_gradients():
    gradients = torch.tensor([[1.0, -2.0], [-3.0, -2.0]])
    assert taylor(gradients).tolist() == [2.0, 2.0]
    assert fisher(gradients).tolist() == [2.5, 2.0]


def test_fisher_of_random_signs_is_half_the_squared_error_of_a_linear_function():
    """f(g) = J g with gates g: leaving out unit u changes the outputs by J_u."""
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    drawn = torch.stack([signs(jacobian[:, 0], generator) for _ in range(20_000)])
    assert drawn.abs().eq(1).all()
    expected = jacobian.square().sum(0) / 2
    assert torch.allclose(fisher(drawn @ jacobian), expected, rtol=0.05)


@given(st.integers(0, 50), st.integers(1, 3))
def test_contributions_are_inner_products_of_what_units_add(seed, groups):
    x, weights = data(seed, groups)
    unit = torch.arange(5).repeat_interleave(2).repeat(groups, 1)
    unit[:, 4:6] = -1
    parts = torch.stack(
        [
            torch.stack([weights[g][:, unit[g] == u] @ x[g][unit[g] == u] for g in range(groups)])
            for u in range(5)
        ]
    ).flatten(1)
    gram = contributions(weights, x @ x.mT, unit, 5)
    assert torch.allclose(gram, parts @ parts.T)


def problem(seed, units=6):
    x, weights = data(seed, units=units)
    unit = torch.arange(units).repeat_interleave(2)[None]
    return contributions(weights, x @ x.mT / 40, unit, units)


@pytest.mark.parametrize("penalty", [0.0, 0.5, 3.0])
def test_lasso_against_a_general_solver(penalty):
    gram = problem(1)
    a = gram.numpy()

    def objective(both):  # β = p − n, both positive
        n = len(a)
        beta = both[:n] - both[n:]
        return 0.5 * (1 - beta) @ a @ (1 - beta) + penalty * both.sum()

    bounds = [(0, None)] * (2 * len(a))
    found = minimize(objective, np.ones(2 * len(a)) / 2, bounds=bounds, tol=1e-12)
    want = found.x[: len(a)] - found.x[len(a) :]
    got = lasso(gram, penalty, torch.ones(6, dtype=torch.float64), steps=5000)
    assert np.allclose(got.numpy(), want, atol=1e-3)


@settings(max_examples=12)
@given(st.integers(0, 20), st.integers(1, 8))
def test_strongest_leaves_no_more_than_asked(seed, count):
    beta = strongest(problem(seed), count)
    assert 0 < int((beta != 0).sum()) <= count
    if count >= 6:
        assert (beta == 1).all()


def test_strongest_finds_the_units_that_others_cannot_make_up():
    """Unit 2 adds nothing, and unit 0 is a copy of unit 1."""
    x, weights = data(3, units=4, taps=1)
    x[:, 1], weights[..., 1] = x[:, 0], weights[..., 0]
    weights[..., 2] = 0
    gram = contributions(weights, x @ x.mT / 40, torch.arange(4)[None], 4)
    beta = strongest(gram, 3)
    assert beta[2] == 0
    assert beta[3] != 0
    assert beta[0] + beta[1] > 1
