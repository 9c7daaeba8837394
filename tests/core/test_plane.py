"""What is factorized and rounded together is what each problem and each scale gives alone."""

import torch

from tersor.core.plane import factorized, nearest_plane
from tersor.core.quadratic import best_weights, stacked
from tests.core.test_lattice import GRID, data, pairs_of, problem_of, scales


def test_several_problems_are_factorized_and_rounded_at_once():
    weights, x, y = data(0, inputs=7)
    scale, partner = scales(weights), pairs_of(7, 0)
    problems = [problem_of(x, y).damped(weights, share) for share in (0.01, 0.1, 1.0)]
    together = stacked(problems)
    plane = factorized(together)
    rounded = plane.round(plane.wanted(together.target), scale.repeat(3, 1), GRID, partner, block=3)
    parts = zip(problems, plane.split(len(weights)), rounded.split(len(weights)), strict=True)
    for problem, part, integers in parts:
        assert torch.allclose(part.wanted(problem.target), best_weights(problem))
        assert torch.equal(integers, nearest_plane(problem, scale, GRID, partner))


def test_several_scales_are_rounded_at_once():
    weights, x, y = data(1, inputs=7)
    problem, scale = problem_of(x, y), scales(weights)
    plane, tried = factorized(problem), [scale, 1.3 * scale]
    rounded = plane.round(plane.wanted(problem.target).repeat(1, 2, 1), torch.cat(tried, 1), GRID)
    for each, integers in zip(tried, rounded.chunk(2, 1), strict=True):
        assert torch.equal(integers, nearest_plane(problem, each, GRID))
