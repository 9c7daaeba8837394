"""Dampings and scales are tried on held-out samples, as many at once as memory allows.

What is tried together is one problem for the solvers: dampings as its groups, scales as its rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tersor.core.grid import Grid
from tersor.core.pairs import Partners
from tersor.core.plane import Plane, Scales, factorized
from tersor.core.quadratic import Quadratic, Weights, stacked

Allowed = tuple[Scales, Grid, Partners | None]
_JUDGED = 128  # rows of a group that tell dampings apart
_AT_ONCE = 1 << 23  # numbers of the Gram matrices that are factorized at once


@dataclass(frozen=True)
class Damped:
    """A problem that is damped.

    Attributes:
        problem: The damped problem.
        plane: The same, factorized.
        error: What is left on held-out samples, of the rows that are judged; 0 if none are.
    """

    problem: Quadratic
    plane: Plane
    error: float = 0.0


def best_damping(
    free: Quadratic, check: Quadratic, weights: Weights, shares: Sequence[float], allowed: Allowed
) -> Damped:
    """Damp a problem such that its nearest plane is best on held-out samples.

    Of many rows, some, evenly spaced, are judged; none if there is only one damping.

    Args:
        free: The problem.
        check: The same on held-out samples.
        weights: The weights to pull towards, the float weights.
        shares: The dampings to try, as shares of the mean diagonal of the Gram matrix.
        allowed: Scale, grid and partners.
    """
    if len(shares) == 1:
        problem = free.damped(weights, shares[0])
        return Damped(problem, factorized(problem))
    scale, grid, partner = allowed
    rows = slice(None, None, max(1, scale.shape[1] // _JUDGED))
    judge = Quadratic(check.gram, check.target[:, rows], check.energy[:, rows])
    best: Damped | None = None
    for problems in _damped(free, weights, shares):
        plane, steps = factorized(stacked(problems)), scale[:, rows].repeat(len(problems), 1)
        rounded = steps[..., None] * plane.round(plane.wanted[:, rows], steps, grid, partner)
        parts = zip(problems, plane.split(len(scale)), rounded.split(len(scale)), strict=True)
        for problem, part, guess in parts:
            error = float(judge.error(guess).sum())
            if best is None or error < best.error:
                best = Damped(problem, part, error)
    assert best is not None
    return best


def _damped(
    free: Quadratic, weights: Weights, shares: Sequence[float]
) -> Iterator[list[Quadratic]]:
    """The damped problems, as many at once as memory allows."""
    count = max(1, _AT_ONCE // free.gram.numel())
    for start in range(0, len(shares), count):
        yield [free.damped(weights, share) for share in shares[start : start + count]]


def best_start(
    plane: Plane, check: Quadratic, allowed: Allowed, shared: bool, factors: Sequence[float]
) -> tuple[Weights, Scales]:
    """Choose the scale of each row such that the error on held-out samples is least.

    Args:
        plane: The factorized problem.
        check: The problem on held-out samples.
        allowed: The scale that factors multiply, the grid and the partners.
        shared: Whether all rows have one scale.
        factors: What to multiply the scale by; the first of several that are as good counts.

    Returns:
        The integers and the scales.
    """
    scale, grid, partner = allowed
    tried = [factor * scale for factor in factors]
    wanted = plane.wanted.repeat(1, len(tried), 1)
    rounded = plane.round(wanted, torch.cat(tried, 1), grid, partner).chunk(len(tried), 1)
    errors = [check.error(s[..., None] * z) for s, z in zip(tried, rounded, strict=True)]
    error = torch.stack(errors)
    if shared:
        error = error.sum((1, 2), keepdim=True).expand_as(error)
    at = error.argmin(0, keepdim=True)
    integers = torch.stack(rounded).take_along_dim(at[..., None], 0)[0]
    return integers, torch.stack(tried).take_along_dim(at, 0)[0]
