"""The cross-entropy method against the enumeration of all choices."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cross_entropy import CrossEntropy, cross_entropy
from tersor.core.grid import Grid
from tersor.core.lattice import enumerate_choices
from tersor.core.quadratic import Quadratic

GRID = Grid(3, signed=True, symmetric=True)
seeds = st.integers(0, 2**32 - 1)


def problem(seed: int, inputs: int, dtype=torch.float64):
    """Two groups of three rows; some weights lie outside of the grid."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    weights, x = normal(2, 3, inputs), normal(2, inputs, 60) + 2 * normal(2, 1, 60)
    y = weights @ x
    form = Quadratic(x @ x.mT / 60, y @ x.mT / 60, y.square().mean(-1))
    return form, weights, 0.8 * weights.abs().amax(-1) / 3


@given(seeds)
@settings(max_examples=5)
def test_it_finds_the_best_choice_or_nearly(seed):
    form, weights, scale = problem(seed, inputs=8)
    found, error = cross_entropy(form, weights, scale, GRID, torch.Generator().manual_seed(seed))
    _, best = enumerate_choices(form, weights, scale, GRID)
    assert torch.allclose(error, form.error(scale[..., None] * found))
    assert bool((error >= best - 1e-9).all())
    assert float(error.sum()) <= 1.05 * float(best.sum()) + 1e-9


@given(seeds)
@settings(max_examples=20)
def test_integers_are_next_to_the_weight_and_on_the_grid(seed):
    form, weights, scale = problem(seed, inputs=5)
    generator = torch.Generator().manual_seed(seed)
    few = CrossEntropy(draws=10, rounds=3)
    found, _ = cross_entropy(form, weights, scale, GRID, generator, few)
    ratio = weights / scale[..., None]
    low, high = (side.clamp(GRID.qmin, GRID.qmax) for side in (ratio.floor(), ratio.ceil()))
    assert bool(((found == low) | (found == high)).all())


def test_the_first_round_is_stochastic_rounding():
    form, weights, scale = problem(0, inputs=6)
    one = CrossEntropy(draws=1, rounds=1)
    generator = torch.Generator().manual_seed(0)
    drawn = [cross_entropy(form, weights, scale, GRID, generator, one)[0] for _ in range(1000)]
    wanted = (weights / scale[..., None]).clamp(GRID.qmin, GRID.qmax)
    assert bool(((torch.stack(drawn).mean(0) - wanted).abs() < 0.08).all())


def test_more_rounds_are_better_and_the_seed_decides():
    form, weights, scale = problem(1, inputs=40, dtype=torch.float32)

    def solve(rounds):
        generator = torch.Generator().manual_seed(3)
        options = replace(CrossEntropy(), rounds=rounds)
        return cross_entropy(form, weights, scale, GRID, generator, options)

    (first, one), (again, many), (same, _) = solve(1), solve(100), solve(100)
    assert first.dtype == torch.float32
    assert torch.equal(again, same)
    assert bool((many < one).all())
