"""Quadratic problems whose numbers were rounded."""

import pytest
import torch

from tersor.core import quadratic
from tersor.core.quadratic import Quadratic, best_weights
from tests.core.test_lattice import data, problem_of


@pytest.mark.parametrize("spread", [0.0, 1e-5, 1e-4])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_inputs_that_hardly_vary_leave_the_weights_nearly_as_they_were(spread, size):
    """Their variance, a small difference of large float32 numbers, may come out below 0."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 5, 64, generator=generator)
    for _ in range(20):
        x = size * (1 + spread * torch.randn(64, 3, generator=generator))
        y = weights[0] @ x
        count = x.shape[1]
        whole = Quadratic(
            (x @ x.mT / count)[None], (y @ x.mT / count)[None], y.square().mean(1)[None]
        )
        free = whole.centered(x.mean(1)[None], y.mean(1)[None])
        found = best_weights(free.damped(weights, 0.01))
        assert (found - weights).norm() < 0.2 * weights.norm()


def test_one_input_of_large_mean_that_hardly_varies():
    """The error of its variance is as large as that of the whole matrix."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 5, 8, generator=generator)
    gram, inputs = torch.eye(8)[None], torch.zeros(1, 8)
    gram[0, 7, 7], inputs[0, 7] = 5e5, (5e5 + 0.5) ** 0.5  # 16 steps of float32 too large
    free = Quadratic(gram, weights @ gram, torch.ones(1, 5)).centered(
        inputs, (weights @ inputs[..., None])[..., 0]
    )
    assert free.gram[0, 7, 7] < -0.3
    found = best_weights(free.damped(weights, 0.01))
    assert torch.allclose(found[..., :7], weights[..., :7], rtol=1e-4)
    assert bool(found.isfinite().all())


def test_a_problem_that_is_not_centered_is_certain():
    x = torch.eye(3)[None]
    problem = Quadratic(x, torch.ones(1, 2, 3), torch.ones(1, 2))
    assert problem.uncertain is None
    assert torch.equal(best_weights(problem), torch.ones(1, 2, 3))


@pytest.mark.parametrize("uncertain", [None, torch.tensor([0.1, 0.2], dtype=torch.float64)])
def test_damping_adds_the_squared_distance_to_the_given_weights(uncertain):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 9, generator=generator, dtype=torch.float64)
    y, weights, others = torch.randn(3, 2, 3, 9, generator=generator, dtype=torch.float64).unbind()
    weights, others = weights[..., :4], others[..., :4]
    problem = Quadratic(x @ x.mT / 9, y @ x.mT / 9, y.square().mean(-1), uncertain)
    pull = 0.3 * (x.square().sum((-2, -1)) / (9 * 4)) + (0 if uncertain is None else uncertain)
    distance = (others - weights).square().sum(-1)
    expected = (y - others @ x).square().mean(-1) + pull[:, None] * distance
    torch.testing.assert_close(problem.damped(weights, 0.3).error(others), expected)


def test_errors_larger_than_their_estimate_leave_the_matrix_regular():
    """Sums over many batches have more rounding errors than one matrix tells."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 5, 6, generator=generator)
    half = torch.full((1, 6), 0.5)
    noise = torch.randn(1, 6, 6, generator=generator)
    gram = half[..., :, None] * half[..., None, :] + 3e-5 * (noise + noise.mT)
    free = Quadratic(gram, weights @ gram, torch.ones(1, 5)).centered(
        half, (weights @ half[..., None])[..., 0]
    )
    assert torch.linalg.eigvalsh(free.gram).min() < -5e-5
    for share in (1e-6, 0.01):
        problem = free.damped(weights, share)
        assert torch.linalg.eigvalsh(problem.gram).min() > 0
        assert (best_weights(problem) - weights).norm() < weights.norm()


@pytest.mark.parametrize("columns", [1, 2, 64])
def test_blocks_do_not_change_the_error(columns, monkeypatch):
    weights, x, y = data(0, inputs=7)
    monkeypatch.setattr(quadratic, "_COLUMNS", columns)
    want = (y - (weights + 0.1) @ x).square().mean(-1)
    assert torch.allclose(problem_of(x, y).error(weights + 0.1), want)
