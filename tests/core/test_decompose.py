"""Decompositions: exact at full rank, optimal where theory says so, as large as promised."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.core.decompose import compose, low_rank, spatial, square_root
from tersor.core.quadratic import Quadratic
from tersor.core.ranks import attainable, best_ranks, decompose, full_ranks, shapes_of
from tersor.core.refit import decompose_on_data, descend, error, refit_last
from tersor.names import METHODS

SHAPES = [(5, 3), (8, 6, 1, 1), (4, 5, 3), (6, 4, 3, 3), (4, 7, 3, 2), (4, 6, 1, 5), (9, 1, 3, 3),
          (1, 6, 2, 3), (3, 4, 2, 3, 2)]  # fmt: skip
METHODS_OF = [
    pytest.param(method, shape, id=f"{method}-{'x'.join(map(str, shape))}")
    for method in METHODS
    for shape in SHAPES
    if len(shape) > 2 or method != "spatial"
]


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.manual_seed(seed), dtype=dtype)


def problem_of(weight, seed=1, noise=0.1):
    """The error against noisy outputs of a weight on correlated inputs, with samples."""
    inputs = weight[0].numel()
    x = random(inputs, inputs, seed=seed) @ random(inputs, 40 * inputs, seed=seed + 1)
    y = weight.flatten(1) @ x + noise * random(len(weight), x.shape[1], seed=seed + 2)
    n = x.shape[1]
    return Quadratic((x @ x.T / n)[None], (y @ x.T / n)[None], y.square().mean(1)[None]), x, y


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str
)
@pytest.mark.parametrize(("method", "shape"), METHODS_OF)
def test_full_rank_is_exact(method, shape, dtype, tolerance):
    weight = random(*shape, dtype=dtype)
    chain = decompose(method, weight, full_ranks(method, weight))
    assert all(factor.dtype == dtype for factor in chain)
    assert (compose(chain) - weight).abs().max() <= tolerance * weight.abs().max()


@pytest.mark.parametrize(("method", "shape"), METHODS_OF)
def test_factors_have_the_promised_shapes(method, shape):
    weight = random(*shape)
    full = full_ranks(method, weight)
    for share in (0.0, 0.5, 1.0):
        ranks = attainable(method, shape, tuple(max(1, int(share * rank)) for rank in full))
        found = [tuple(factor.shape) for factor in decompose(method, weight, ranks)]
        assert found == shapes_of(method, shape, ranks)


@pytest.mark.parametrize(("method", "shape"), METHODS_OF)
def test_channels_of_zeros(method, shape):
    weight = random(*shape)
    weight[-1] = 0
    weight[:, 0] = 0
    found = compose(decompose(method, weight, full_ranks(method, weight)))
    assert (found - weight).abs().max() <= 1e-10
    assert torch.equal(
        compose(decompose(method, 0 * weight, full_ranks(method, weight))), 0 * found
    )


def test_a_chain_is_one_convolution():
    chain = [random(5, 4, 1, 1), random(5, 1, 3, 1, seed=1), random(6, 5, 1, 2, seed=2)]
    x = random(2, 4, 8, 9, seed=3)
    want, groups = x, (1, 5, 1)
    for factor, count in zip(chain, groups, strict=True):
        want = torch.nn.functional.conv2d(want, factor, groups=count)
    assert torch.allclose(torch.nn.functional.conv2d(x, compose(chain)), want)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 6), st.integers(0, 99))
def test_low_rank_loses_the_singular_values_beyond_the_rank(rows, columns, rank, seed):
    """Eckart-Young, and the same in the metric of the data."""
    rank = min(rank, rows, columns)
    matrix, x = random(rows, columns, seed=seed), random(columns, 20, seed=seed + 1)
    gram = x @ x.T
    for metric, of_data in ((None, torch.eye(columns, dtype=torch.float64)), (gram, x)):
        left, right = low_rank(matrix, rank, metric)
        lost = ((matrix - left @ right) @ of_data).square().sum()
        beyond = torch.linalg.svdvals(matrix @ of_data)[rank:].square().sum()
        assert torch.allclose(lost, beyond, atol=1e-8)
        sizes = left.norm(dim=0), right.norm(dim=1)
        assert torch.allclose(*sizes)


def test_square_root():
    x = random(5, 3)
    root = square_root(x @ x.T)
    assert torch.allclose(root @ root, x @ x.T)
    assert torch.allclose(root, root.T)


def test_reduced_rank_regression_against_a_search():
    """No other product of rank 2 is better: a search from many starts ends at the same error."""
    weight = random(4, 6)
    problem, _, _ = problem_of(weight, noise=1.0)
    found = error(decompose_on_data("svd", weight, (2,), problem, 0), problem)
    starts = [[random(2, 6, seed=s), random(4, 2, seed=s + 50)] for s in range(5)]
    searched = min(error(descend(start, problem, 500), problem) for start in starts)
    assert found <= searched * (1 + 1e-6)
    assert torch.allclose(found, searched, rtol=1e-4)


@pytest.mark.parametrize(("method", "shape"), METHODS_OF)
def test_data_never_make_it_worse_on_the_data(method, shape):
    weight = random(*shape)
    problem, _, _ = problem_of(weight)
    ranks = attainable(method, shape, tuple(max(1, r // 2) for r in full_ranks(method, weight)))
    plain = error(decompose(method, weight, ranks), problem)
    without_descent = error(decompose_on_data(method, weight, ranks, problem, 0), problem)
    fitted = error(decompose_on_data(method, weight, ranks, problem, 30), problem)
    assert fitted <= without_descent * (1 + 1e-9) <= plain * (1 + 1e-6)
    assert fitted < plain


def test_spatial_knows_the_data():
    weight = random(6, 4, 3, 3)
    problem, _, _ = problem_of(weight)
    plain, whitened = spatial(weight, 4), spatial(weight, 4, problem.gram[0])
    assert error(whitened, problem) < error(plain, problem)


@pytest.mark.parametrize("method", METHODS)
def test_the_last_factor_against_a_regression_on_what_it_reads(method):
    weight = random(6, 4, 3, 3)
    problem, x, y = problem_of(weight)
    chain = decompose(method, weight, attainable(method, weight.shape, (3,) * len(full_ranks(
        method, weight))))  # fmt: skip
    last = chain[-1]
    taps = torch.eye(last[0].numel(), dtype=torch.float64).reshape(-1, *last.shape[1:])
    features = compose([*chain[:-1], taps]).flatten(1) @ x
    want = torch.linalg.lstsq(features.T, y.T).solution.T
    found = refit_last(chain, problem)
    assert torch.allclose(found[-1].flatten(1), want, rtol=1e-4, atol=1e-4)
    assert all(a is b for a, b in zip(found[:-1], chain[:-1], strict=True))


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(METHODS),
    st.sampled_from([shape for shape in SHAPES if len(shape) > 2]),
    st.floats(0.05, 1.5),
)
def test_best_ranks_fill_the_budget(method, shape, share):
    """Within it, attainable, and one more anywhere is too much, unless it could hold nothing."""
    weight = random(*shape)

    def cost(ranks):
        return sum(map(math.prod, shapes_of(method, shape, ranks)))

    most, full = int(share * weight.numel()), full_ranks(method, weight)
    found = best_ranks(method, weight, most, cost)
    if found is None:
        assert cost((1,) * len(full)) > most
        return
    assert cost(found) <= most
    assert all(1 <= rank <= top for rank, top in zip(found, full, strict=True))
    assert attainable(method, shape, found) == found
    if len(full) == 1:
        assert found == full or cost((found[0] + 1,)) > most
    decompose(method, weight, found)


def test_several_ranks_go_where_the_energy_is():
    """Of a weight whose input side has rank 2 exactly, no more is spent on that side."""
    weight = torch.einsum("oikl,ij->ojkl", random(8, 2, 3, 3), random(2, 8, seed=1))

    def cost(ranks):
        return sum(map(math.prod, shapes_of("tucker", weight.shape, ranks)))

    assert best_ranks("tucker", weight, cost((2, 6)), cost) == (2, 6)


def test_tensorly_is_loaded_late_and_left_alone():
    code = (
        "import sys, torch, tersor; assert 'tensorly' not in sys.modules\n"
        "from tersor.core.decompose import tucker\n"
        "tucker(torch.randn(3, 3, 3, 3), (2, 2)); import tensorly\n"
        "assert tensorly.get_backend() == 'numpy'"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)  # noqa: S603
