"""Integers z of least error ‖y − s z·x̂‖²: three solvers for `tersor.core.quadratic`.

    nearest plane   each column compensates the rounding of those before it: `tersor.core.plane`
    descent         weights move one by one as long as the error decreases: `tersor.core.descent`
    enumeration     all choices between ⌊w / s⌋ and ⌈w / s⌉

Descent starts from the plane, or from the nearest integers where these are better. Rows with few
weights are enumerated. A layer with `inputs` weights per row needs about three matrices of
`inputs²` numbers.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.descent import Product, descend_from
from tersor.core.grid import Grid
from tersor.core.pairs import Partners, are_safe
from tersor.core.plane import Scales, nearest_plane
from tersor.core.quadratic import Quadratic, Weights

_CHOICES = 2**20  # errors that enumeration computes at once


def closest(
    problem: Quadratic,
    weights: Weights,
    scale: Scales,
    grid: Grid,
    partner: Partners | None = None,
    sweeps: int = 20,
    plane: Weights | None = None,
    least_gain: float = 0.0,
) -> Product:
    """Nearest plane, then descent; also starts from the nearest integers if these are better.

    Args:
        problem: A regular problem, see `Quadratic.damped`.
        weights: The float weights; their nearest integers must be allowed.
        scale: Size of one step for each output.
        grid: The allowed integers.
        partner: Which columns meet, if any; see `tersor.core.pairs`.
        sweeps: Largest number of passes of descent over all weights.
        plane: The integers of the nearest plane, if they are known.
        least_gain: See `descend_from`.

    Returns:
        Integers whose error is no larger than that of nearest rounding, in each row, and z G.
    """
    found = nearest_plane(problem, scale, grid, partner) if plane is None else plane
    found = _with_product(problem, found)
    found = descend_from(found, problem, scale, grid, partner, sweeps, least_gain=least_gain)
    near = (weights / scale[..., None]).round().clamp(grid.qmin, grid.qmax)
    worse = problem.error(scale[..., None] * near) < _error(problem, found, scale)
    if not bool(worse.any()):
        return found
    nearest = _with_product(problem, near)
    parts = ((nearest.integers, found.integers), (nearest.product, found.product))
    start = Product(*(new.where(worse[..., None], old) for new, old in parts))
    return descend_from(start, problem, scale, grid, partner, sweeps, least_gain=least_gain)


def _with_product(problem: Quadratic, integers: Weights) -> Product:
    return Product(integers, integers @ problem.gram)


def _error(problem: Quadratic, z: Product, scale: Scales) -> Float[Tensor, "groups outputs"]:
    step = scale[..., None]
    return problem.error(step * z.integers, step * z.product)


def enumerate_choices(
    problem: Quadratic,
    weights: Weights,
    scale: Scales,
    grid: Grid,
    partner: Partners | None = None,
) -> tuple[Weights, Float[Tensor, "groups outputs"]]:
    """Find the best of all ways to round each weight up or down.

    Args:
        problem: The problem.
        weights: The float weights; few per row, since there are 2^inputs ways.
        scale: Size of one step for each output.
        grid: The allowed integers.
        partner: Which columns meet, if any; see `tersor.core.pairs`.

    Returns:
        The integers, and their error: infinite if no choice is allowed.
    """
    inputs = weights.shape[-1]
    ways = torch.arange(2**inputs, device=weights.device)[:, None]
    up = (ways >> torch.arange(inputs, device=weights.device) & 1).to(weights)
    low = (weights / scale[..., None]).floor()
    best, least = low, torch.full_like(scale, torch.inf)
    chunk = max(1, _CHOICES // (low.shape[0] * low.shape[1]))
    for part in up.split(chunk):
        tried = (low[..., None, :] + part).clamp(grid.qmin, grid.qmax)
        errors = errors_of_ways(problem, scale[..., None, None] * tried)
        if partner is not None:
            errors = errors.where(are_safe(tried, partner, grid), torch.inf)
        found, index = errors.min(-1)
        chosen = tried.take_along_dim(index[..., None, None], -2).squeeze(-2)
        best = torch.where((found < least)[..., None], chosen, best)
        least = torch.minimum(found, least)
    return best, least


def errors_of_ways(
    problem: Quadratic, weights: Float[Tensor, "groups outputs ways inputs"]
) -> Float[Tensor, "groups outputs ways"]:
    """Compute `Quadratic.error` for several candidates per row of weights.

    Args:
        problem: The problem.
        weights: ŵ, real numbers.
    """
    product = weights @ problem.gram[:, None] - 2 * problem.target[..., None, :]
    return problem.energy[..., None] + (product * weights).sum(-1)
