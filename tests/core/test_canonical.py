"""The canonical decomposition: against TensorLy's, on kernels of known rank, and at the edges."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly import backend_context
from tensorly.decomposition import parafac

from tersor.core.canonical import canonical


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.manual_seed(seed), dtype=dtype)


def of_rank(shape, rank, seed=0):
    """A kernel that is the sum of so many components."""
    return composed([random(size, rank, seed=seed + axis) for axis, size in enumerate(shape)])


def composed(modes):
    letters = "oixyz"[: len(modes)]
    return torch.einsum(",".join(f"{each}r" for each in letters) + "->" + letters, *modes)


def lost(weight, modes):
    return float((composed(modes) - weight).square().sum() / weight.square().sum())


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(8, 6, 9), (5, 7, 3, 3), (6, 6, 2, 3, 2), (7, 5)]),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_no_sweep_makes_it_worse(shape, rank, seed):
    weight = random(*shape, seed=seed)
    losses = [lost(weight, canonical(weight, rank, sweeps, 0.0)) for sweeps in range(0, 12, 3)]
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(losses))


def size(weight, modes):
    """The squares of all components together, as a share of those of the weights."""
    squares = torch.stack([factor.square().sum(0) for factor in modes]).prod(0)
    return float(squares.sum() / weight.square().sum())


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("shape", [(16, 16, 9), (12, 10, 9)], ids=str)
def test_components_that_would_cancel_each_other_out_stay_small(shape, seed):
    """The best components of noise are ten times as large as the kernel."""
    weight = random(*shape, seed=seed)
    free, pulled = canonical(weight, 24, 60, 0.0), canonical(weight, 24, 60)
    assert size(weight, free) > 10
    assert size(weight, pulled) < 2
    assert lost(weight, pulled) < 1.1 * lost(weight, free)


@pytest.mark.parametrize("shape", [(12, 10, 9), (8, 9, 3, 3)], ids=str)
def test_a_kernel_of_low_rank_is_found(shape):
    weight = of_rank(shape, 3)
    assert lost(weight, canonical(weight, 3, 300, pull=0.0)) < 1e-6


@pytest.mark.parametrize("rank", [6, 12, 24])
@pytest.mark.parametrize("shape", [(16, 16, 9), (16, 16, 3, 3)], ids=str)
def test_twenty_sweeps_against_fifty_plain_ones(shape, rank):
    """On a kernel of falling energy with noise, as trained ones are."""
    whole = random(*shape, seed=5) + 8 * of_rank(shape, 4)
    with backend_context("pytorch", local_threadsafe=True):
        start = (None, canonical(whole, rank, 0))
        plain = parafac(whole, rank, n_iter_max=50, init=start, tol=0)
    found = canonical(whole, rank, 20, pull=0.0)
    assert lost(whole, found) <= lost(whole, plain.factors) * 1.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_channels_of_zeros_and_equal_ones(dtype):
    weight = random(8, 6, 3, 3, dtype=dtype)
    weight[:4] = weight[4:]
    weight[:, 2:] = 0
    modes = canonical(weight, 18, pull=0.0)
    assert all(torch.isfinite(factor).all() and factor.dtype == dtype for factor in modes)
    assert lost(weight, modes) < 1e-8
    nothing = canonical(torch.zeros(4, 3, 3, 3, dtype=dtype), 2)
    assert composed(nothing).abs().max() == 0


def test_a_unit_of_the_weights_changes_nothing():
    weight = random(8, 8, 9)
    one, other = lost(weight, canonical(weight, 10)), canonical(1e-6 * weight, 10)
    assert lost(1e-6 * weight, other) == pytest.approx(one, rel=1e-3)
