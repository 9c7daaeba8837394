"""Dampings and scales that are tried at once are judged as if each were tried alone."""

import pytest
import torch

from tersor.core.plane import factorized, nearest_plane
from tersor.core.quadratic import best_weights
from tersor.quant.rounding import trials
from tersor.quant.rounding.trials import best_damping, best_start
from tests.core.test_lattice import GRID, data, problem_of, scales

SHARES = (1e-4, 1e-2, 1.0)


def problems(seed):
    """Few samples to solve with, others to judge by."""
    weights, x, y = data(seed, samples=12)
    return weights, problem_of(x[..., :6], y[..., :6]), problem_of(x[..., 6:], y[..., 6:])


@pytest.mark.parametrize("at_once", [1, 100, 1_000_000])
@pytest.mark.parametrize("seed", range(4))
def test_the_damping_is_the_best_of_those_tried_alone(seed, at_once, monkeypatch):
    monkeypatch.setattr(trials, "_AT_ONCE", at_once)
    weights, free, check = problems(seed)
    scale = scales(weights)

    def error(share):
        integers = nearest_plane(free.damped(weights, share), scale, GRID)
        return float(check.error(scale[..., None] * integers).sum())

    found = best_damping(free, check, weights, SHARES, (scale, GRID, None))
    best = min(SHARES, key=error)
    assert found.error == pytest.approx(error(best))
    assert torch.equal(found.problem.gram, free.damped(weights, best).gram)
    assert torch.allclose(found.wanted, best_weights(found.problem))


@pytest.mark.parametrize("shared", [True, False])
def test_the_scale_is_the_best_of_those_tried_alone(shared):
    weights, free, check = problems(0)
    scale = scales(weights)
    scale = scale.amax().expand_as(scale) if shared else scale
    problem, factors = free.damped(weights, 0.1), (1.0, 1.2, 1.5)
    tried = [factor * scale for factor in factors]
    planes = [nearest_plane(problem, each, GRID) for each in tried]
    errors = [check.error(s[..., None] * z) for s, z in zip(tried, planes, strict=True)]
    plane, wanted = factorized(problem), best_weights(problem)
    integers, found = best_start(plane, wanted, check, (scale, GRID, None), shared, factors)
    error = check.error(found[..., None] * integers)
    if shared:
        assert torch.equal(error.sum(), torch.stack(errors).sum((1, 2)).min())
        assert bool((found == found[0, 0]).all())
    else:
        assert torch.equal(error, torch.stack(errors).amin(0))
        assert len({round(float(f), 3) for f in (found / scale).flatten()}) > 1


def test_scales_that_suit_none_of_some_rows_are_not_tried_on_the_others(monkeypatch):
    weights, free, check = problems(0)
    scale, problem, factors = scales(weights), free.damped(weights, 0.1), (1.0, 1.2, 1.5)
    plane, wanted, allowed = factorized(problem), best_weights(problem), (scale, GRID, None)
    _, every = best_start(plane, wanted, check, allowed, False, factors)
    monkeypatch.setattr(trials, "_JUDGED", 2)  # the first row of each group is judged
    _, found = best_start(plane, wanted, check, allowed, False, factors)
    assert torch.equal(found[:, 0], every[:, 0])
    ratios = (every / scale).round(decimals=6), (found / scale).round(decimals=6)
    wider, judged = ({*map(float, x.flatten())} for x in (ratios[0], ratios[0][:, 0]))
    assert {*map(float, ratios[1].flatten())} <= judged < wider


@pytest.mark.parametrize("fine", [GRID.bits, GRID.bits + 1])
def test_long_rows_share_a_factor_unless_they_have_few_bits(fine, monkeypatch):
    monkeypatch.setattr(trials, "_FINE", fine)
    weights, free, check = problems(0)
    scale, problem, factors = scales(weights), free.damped(weights, 0.1), (1.0, 1.2, 1.5)
    given = factorized(problem), best_weights(problem), check, (scale, GRID, None)
    _, alone = best_start(*given, False, factors)
    _, together = best_start(*given, True, factors)
    assert not torch.equal(alone, together)
    monkeypatch.setattr(trials, "_LONG", weights.shape[-1] - 1)
    _, found = best_start(*given, False, factors)
    assert torch.equal(found, together if fine <= GRID.bits else alone)


def test_of_long_rows_the_first_columns_tell_which_damping_is_best(monkeypatch):
    weights, x, y = data(3, inputs=9, samples=24)
    free, check = problem_of(x[..., :12], y[..., :12]), problem_of(x[..., 12:], y[..., 12:])
    scale = scales(weights)
    monkeypatch.setattr(trials, "_COLUMNS", 4)

    def error(share):
        """Round four columns; the data see the others with their float weights."""
        rest = weights[..., 4:] @ x[:, 4:]
        four, judges = (
            problem_of(x[:, :4, part], (y - rest)[..., part])
            for part in (slice(0, 12), slice(12, 24))
        )
        found = nearest_plane(four.damped(weights[..., :4], share), scale, GRID)
        return float(judges.error(scale[..., None] * found).sum())

    found = best_damping(free, check, weights, SHARES, (scale, GRID, None))
    assert found.error == pytest.approx(min(map(error, SHARES)))
    best = min(SHARES, key=error)
    assert torch.equal(found.problem.gram, free.damped(weights, best).gram)
