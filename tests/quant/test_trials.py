"""Dampings and scales that are tried at once are judged as if each were tried alone."""

import pytest
import torch

from tersor.core.plane import factorized, nearest_plane
from tersor.quant import trials
from tersor.quant.trials import best_damping, best_start
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
    assert torch.allclose(found.plane.wanted, factorized(found.problem).wanted)


@pytest.mark.parametrize("shared", [True, False])
def test_the_scale_is_the_best_of_those_tried_alone(shared):
    weights, free, check = problems(0)
    scale = scales(weights)
    scale = scale.amax().expand_as(scale) if shared else scale
    problem, factors = free.damped(weights, 0.1), (1.0, 1.2, 1.5)
    tried = [factor * scale for factor in factors]
    planes = [nearest_plane(problem, each, GRID) for each in tried]
    errors = [check.error(s[..., None] * z) for s, z in zip(tried, planes, strict=True)]
    integers, found = best_start(factorized(problem), check, (scale, GRID, None), shared, factors)
    error = check.error(found[..., None] * integers)
    if shared:
        assert torch.equal(error.sum(), torch.stack(errors).sum((1, 2)).min())
        assert bool((found == found[0, 0]).all())
    else:
        assert torch.equal(error, torch.stack(errors).amin(0))
        assert len({round(float(f), 3) for f in (found / scale).flatten()}) > 1
