"""Fits that count behind a ReLU: each step in closed form, the best of them kept."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.core.decompose import low_rank
from tersor.core.fit_before_relu import auxiliary, fit_before_relu


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.01, 10))
def test_auxiliary_against_a_grid(wanted, found, penalty):
    y, x = torch.tensor([[wanted]]).double(), torch.tensor([[found]]).double()

    def objective(z):
        return (y.clamp(min=0) - z.clamp(min=0)).square() + penalty * (z - x).square()

    grid = torch.linspace(-4, 4, 8001).double()[None]
    assert objective(auxiliary(y, x, penalty)) <= objective(grid).min() + 1e-12


def regression(x, rank):
    """Reduced-rank regression with a bias, on these inputs."""
    mean = x.mean(1, keepdim=True)
    gram = (x - mean) @ (x - mean).T

    def fit(z):
        center = z.mean(1, keepdim=True)
        left, right = low_rank((z - center) @ (x - mean).T @ torch.linalg.inv(gram), rank, gram)
        weight, bias = left @ right, center - left @ right @ mean
        return (weight, bias), weight @ x + bias

    return fit


def lost(wanted, outputs):
    target = wanted.clamp(min=0)
    spread = (target - target.mean(1, keepdim=True)).square().sum()
    return float((target - outputs.clamp(min=0)).square().sum() / spread)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 5))
def test_never_worse_behind_the_relu_than_the_linear_fit(seed, rank):
    generator = torch.manual_seed(seed)
    x = torch.randn(8, 200, generator=generator).double()
    y = torch.randn(6, 8, generator=generator).double() @ x - 0.5
    _, plain = regression(x, rank)(y)
    (weight, bias), told = fit_before_relu(regression(x, rank), y)
    assert abs(told - lost(y, weight @ x + bias)) < 1e-9
    assert told <= lost(y, plain)


def test_better_where_values_are_cut_off():
    generator = torch.manual_seed(0)
    x = torch.randn(8, 2000, generator=generator).double()
    y = torch.randn(6, 8, generator=generator).double() @ x - 1
    _, plain = regression(x, 2)(y)
    _, told = fit_before_relu(regression(x, 2), y)
    assert told < 0.95 * lost(y, plain)
