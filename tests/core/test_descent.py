"""Descent against a search that tries every value of every weight of a row."""

import pytest
import torch

from tersor.core.descent import Product, descend, descend_from
from tersor.core.quadratic import Quadratic
from tests.core.test_lattice import (
    GRID,
    data,
    is_allowed,
    nearest,
    pairs_of,
    problem_of,
    reached,
    scales,
)


def best_move(problem, integers, scale, partner):
    """The best change of a single weight in each row, if any is an improvement."""
    least, best = reached(problem, integers, scale) - 1e-9, integers
    for column in range(integers.shape[-1]):
        for value in range(GRID.qmin, GRID.qmax + 1):
            other = integers.clone()
            other[..., column] = value
            error = reached(problem, other, scale)
            better = (error < least) & is_allowed(other, partner)
            least, best = error.where(better, least), other.where(better[..., None], best)
    return best


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_in_one_block_each_row_moves_its_best_weight_first(seed, paired):
    weights, x, y = data(seed)
    problem, scale = problem_of(x, y), scales(weights)
    partner = pairs_of(5, seed) if paired else torch.arange(5)
    found = torch.zeros_like(weights) if paired else nearest(weights, scale)
    result = descend(problem, found, scale, GRID, partner if paired else None, sweeps=50)
    for _ in range(15):
        found = best_move(problem, found, scale, partner)
    assert torch.allclose(reached(problem, result, scale), reached(problem, found, scale))


@pytest.mark.parametrize("block", [2, 64])
def test_groups_do_not_know_of_each_other(block):
    weights, x, y = data(4, groups=3, outputs=6, inputs=7)
    problem, scale = problem_of(x, y), scales(weights)
    start = torch.zeros_like(weights)
    together = descend(problem, start, scale, GRID, block=block)
    for group in range(3):
        here = slice(group, group + 1)
        alone = problem_of(x[here], y[here])
        found = descend(alone, start[here], scale[here], GRID, block=block)
        assert torch.equal(found, together[here])


def test_no_sweep_changes_nothing():
    weights, x, y = data(5)
    start = torch.zeros_like(weights)
    assert torch.equal(descend(problem_of(x, y), start, scales(weights), GRID, sweeps=0), start)


@pytest.mark.parametrize("paired", [False, True])
def test_rows_that_are_left_out_end_where_they_end_alone(paired):
    weights, x, y = data(6, groups=1, outputs=40, inputs=24, samples=200)
    problem, scale = problem_of(x, y), scales(weights)
    partner = pairs_of(24, 6) if paired else None
    start = torch.zeros_like(weights)
    together = descend(problem, start, scale, GRID, partner, 50, 4)
    for i in range(40):
        row = slice(i, i + 1)
        alone = Quadratic(problem.gram, problem.target[:, row], problem.energy[:, row])
        found = descend(alone, start[:, row], scale[:, row], GRID, partner, 50, 4)
        assert torch.equal(found, together[:, row])


def test_rows_that_gain_little_are_left_out():
    weights, x, y = data(6, groups=1, outputs=40, inputs=24, samples=200)
    problem, scale = problem_of(x, y), scales(weights)
    zeros = torch.zeros_like(weights)
    errors = []
    for least_gain in (0.0, 0.05):
        found = descend_from(Product(zeros, zeros), problem, scale, GRID, None, 50, 4, least_gain)
        assert torch.allclose(found.product, found.integers @ problem.gram)
        errors.append(reached(problem, found.integers, scale))
    exact, some = errors
    assert 1 < float(some.sum() / exact.sum()) < 1.1
    assert bool((some >= exact - 1e-9).all())
