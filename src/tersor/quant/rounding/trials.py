"""Dampings and scales are tried on held-out samples, as many at once as memory allows.

What is tried together is one problem for the solvers: dampings as its groups, scales as its rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tersor.core.grid import Grid
from tersor.core.pairs import Partners
from tersor.core.plane import Plane, Scales, factorized
from tersor.core.quadratic import Quadratic, Weights, stacked

Allowed = tuple[Scales, Grid, Partners | None]
_JUDGED = 128  # rows of a group that tell dampings and scales apart
_LONG = 400  # weights of a row, from which scales that are best for single rows are best by chance
_FINE = 4  # bits of weights, from which that is so
_COLUMNS = 1024  # of a row of more than twice as many that tell dampings apart
_AT_ONCE = 1 << 23  # numbers of the Gram matrices that are factorized at once


@dataclass(frozen=True)
class Damped:
    """A problem that is damped.

    Attributes:
        problem: The damped problem.
        plane: The same, factorized.
        wanted: The weights of least error among all real numbers.
        error: What is left on held-out samples, of the rows that are judged; 0 if none are.
    """

    problem: Quadratic
    plane: Plane
    wanted: Weights
    error: float = 0.0


def best_damping(
    free: Quadratic, check: Quadratic, weights: Weights, shares: Sequence[float], allowed: Allowed
) -> Damped:
    """Damp a problem such that its nearest plane is best on held-out samples.

    Of many rows, some, evenly spaced, are judged; none if there is only one damping. Of long rows,
    the first columns are rounded for that, and the others keep their float weights.

    Args:
        free: The problem.
        check: The same on held-out samples.
        weights: The weights to pull towards, the float weights.
        shares: The dampings to try, as shares of the mean diagonal of the Gram matrix.
        allowed: Scale, grid and partners.
    """
    found = _Tried(shares[0])
    if len(shares) > 1:
        rows, inputs = _some(weights, _JUDGED), weights.shape[-1]
        columns = inputs if inputs <= 2 * _COLUMNS else _COLUMNS
        some, judge = (problem.first(weights, rows, columns) for problem in (free, check))
        scale, grid, partner = allowed
        partner = partner if columns == inputs else None
        few = scale[:, rows], grid, partner
        found = _best_share(some, judge, weights[:, rows, :columns], shares, few)
    problem, plane = free.damped(weights, found.share), found.plane
    if plane is None or plane.order.shape != weights[:, 0].shape:
        plane = factorized(problem)
    return Damped(problem, plane, plane.wanted(problem.target), found.error)


def _some(weights: Weights, count: int) -> slice:
    """About so many rows of a group, evenly spaced."""
    return slice(None, None, max(1, weights.shape[1] // count))


@dataclass(frozen=True)
class _Tried:
    """A damping, what it leaves on held-out samples, and its Gram matrix, factorized."""

    share: float
    error: float = 0.0
    plane: Plane | None = None


def _best_share(
    free: Quadratic, check: Quadratic, weights: Weights, shares: Sequence[float], allowed: Allowed
) -> _Tried:
    """The damping whose nearest plane is best on held-out samples."""
    (scale, grid, partner), left, best = allowed, iter(shares), None
    for problems in _damped(free, weights, shares):
        steps, together = scale.repeat(len(problems), 1), stacked(problems)
        plane = factorized(together)
        rounded = plane.round(plane.wanted(together.target), steps, grid, partner)
        guesses = (steps[..., None] * rounded).split(len(scale))
        for guess, own in zip(guesses, plane.split(len(scale)), strict=True):
            found = _Tried(next(left), float(check.error(guess).sum()), own)
            if best is None or found.error < best.error:
                best = found
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
    plane: Plane,
    wanted: Weights,
    check: Quadratic,
    allowed: Allowed,
    shared: bool,
    factors: Sequence[float],
) -> tuple[Weights, Scales]:
    """Choose the scale of each row such that the error on held-out samples is least.

    Of many rows, some, evenly spaced, are tried first; scales that are best for none of them are
    not tried on the others. Long rows of 4 bits or more share one factor: the best ones of single
    rows differ by chance then, and are worse on other samples.

    Args:
        plane: The factorized problem.
        wanted: See `Plane.wanted`.
        check: The problem on held-out samples.
        allowed: The scale that factors multiply, the grid and the partners.
        shared: Whether all rows have one scale.
        factors: What to multiply the scale by; the first of several that are as good counts.

    Returns:
        The integers and the scales.
    """
    shared = shared or (wanted.shape[-1] > _LONG and allowed[1].bits >= _FINE)
    if wanted.shape[1] > _JUDGED and len(factors) > 1:
        rows = _some(wanted, max(1, _JUDGED // len(factors)))
        scale, grid, partner = allowed
        some = Quadratic(check.gram, check.target[:, rows], check.energy[:, rows])
        at, _ = _tried(
            plane, wanted[:, rows], some, (scale[:, rows], grid, partner), shared, factors
        )
        factors = [factors[i] for i in at.unique().tolist()]
    at, rounded = _tried(plane, wanted, check, allowed, shared, factors)
    integers = rounded.take_along_dim(at[None, ..., None], 0)[0]
    return integers, allowed[0] * wanted.new_tensor(factors)[at]


def _tried(
    plane: Plane,
    wanted: Weights,
    check: Quadratic,
    allowed: Allowed,
    shared: bool,
    factors: Sequence[float],
) -> tuple[Int64[Tensor, "groups outputs"], Float[Tensor, "factors groups outputs inputs"]]:
    """The number of the best scale of each row, and the integers of all scales."""
    scale, grid, partner = allowed
    tried = [factor * scale for factor in factors]
    many = wanted.repeat(1, len(tried), 1)
    rounded = plane.round(many, torch.cat(tried, 1), grid, partner).chunk(len(tried), 1)
    if len(tried) == 1:
        return torch.zeros_like(scale, dtype=torch.long), torch.stack(rounded)
    errors = [check.error(s[..., None] * z) for s, z in zip(tried, rounded, strict=True)]
    error = torch.stack(errors)
    if shared:
        error = error.sum((1, 2), keepdim=True).expand_as(error)
    return error.argmin(0), torch.stack(rounded)
