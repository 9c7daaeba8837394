"""The relaxation between rounding down and up: values, gradients, and what β does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.core.grid import Grid
from tersor.core.soft_rounding import (
    GAMMA,
    ZETA,
    annealed,
    inverse_rectified_sigmoid,
    rectified_sigmoid,
    regularizer,
    soft_integers,
)

GRID = Grid(3, signed=True, symmetric=True)
unit = st.floats(0, 1, allow_subnormal=False)
inside = st.floats(0.01, 0.99)
reals = st.floats(-50, 50)
betas = st.floats(2, 20)


def scalar(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def slope(function, x):
    """The derivative at one point by autograd."""
    at = scalar(x)
    (found,) = torch.autograd.grad(function(at), [at])
    return float(found)


@given(unit)
def test_the_inverse_is_one(h):
    found = rectified_sigmoid(inverse_rectified_sigmoid(scalar(h)))
    assert abs(float(found.detach()) - h) < 1e-12


@given(reals, reals)
def test_it_rises_from_0_to_1_and_reaches_both(first, second):
    low, high = (float(rectified_sigmoid(scalar(v)).detach()) for v in sorted((first, second)))
    assert 0 <= low <= high <= 1
    assert rectified_sigmoid(scalar(-2.5)) == 0
    assert rectified_sigmoid(scalar(2.5)) == 1


@given(reals)
def test_its_slope_is_that_of_the_sigmoid_stretched_and_0_beyond(v):
    sigmoid = float(torch.sigmoid(scalar(v)).detach())
    is_between = 0 < sigmoid * (ZETA - GAMMA) + GAMMA < 1
    want = (ZETA - GAMMA) * sigmoid * (1 - sigmoid) if is_between else 0.0
    assert abs(slope(rectified_sigmoid, v) - want) < 1e-12


@given(st.lists(unit, min_size=1), betas)
def test_the_regularizer_counts_the_undecided(h, beta):
    h = torch.tensor(h, dtype=torch.float64)
    found = float(regularizer(h, beta))
    assert 0 <= found <= len(h)
    assert regularizer(h.round(), beta) == 0
    assert regularizer(torch.full_like(h, 0.5), beta) == len(h)
    assert found == pytest.approx(float(regularizer(1 - h, beta)))


@given(inside, betas)
def test_the_regularizer_pulls_to_the_nearer_side(h, beta):
    pull = -slope(lambda x: regularizer(x, beta), h)
    away = 2 * h - 1
    assert pull * away >= 0
    assert abs(pull) == pytest.approx(2 * beta * abs(away) ** (beta - 1))


@given(st.floats(0.3, 0.7), betas)
def test_a_high_beta_leaves_the_middle_free(h, beta):
    def pull(value):
        return abs(slope(lambda x: regularizer(x, value), h))

    assert pull(20.0) <= pull(beta) + 1e-12


@given(unit, unit)
def test_beta_falls_from_first_to_last(one, other):
    early, late = sorted((one, other))
    assert annealed(0.0, 20.0, 2.0) == 20
    assert annealed(1.0, 20.0, 2.0) == 2
    assert 2 <= annealed(late, 20.0, 2.0) <= annealed(early, 20.0, 2.0) <= 20


@given(st.floats(-3.99, 2.99))
def test_the_relaxation_starts_at_the_float_weight(ratio):
    ratio = torch.tensor(ratio, dtype=torch.float64)
    up = rectified_sigmoid(inverse_rectified_sigmoid(ratio - ratio.floor()))
    assert torch.allclose(soft_integers(ratio.floor(), up, GRID), ratio)


@given(st.integers(-8, 8), inside)
def test_what_the_grid_clips_has_no_gradient(low, h):
    found = slope(lambda up: soft_integers(torch.tensor(float(low)), up, GRID), h)
    assert found == (1.0 if GRID.qmin <= low < GRID.qmax else 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype):
    v = torch.linspace(-4, 4, 9, dtype=dtype)
    h = rectified_sigmoid(v)
    assert h.dtype == dtype
    assert inverse_rectified_sigmoid(h).dtype == dtype
    assert regularizer(h, 2.0).dtype == dtype
    assert soft_integers(torch.zeros_like(h), h, GRID).dtype == dtype
