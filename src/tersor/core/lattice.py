"""Integers z of least error ‖y − s z·x̂‖²: three solvers for `tersor.core.quadratic`.

    nearest plane   z_j = round((a_j + Σ_{k>j} R_jk (a_k − s z_k) / R_jj) / s),  G = RᵀR, a = b G⁻¹
    descent         z_j ← round(z_j + r_j / (s G_jj)),  r = b − s z G
    enumeration     all choices between ⌊w / s⌋ and ⌈w / s⌉

The first is GPTQ (arXiv 2210.17323), which is Babai's nearest plane algorithm on the lattice of the
Gram matrix: each column compensates the rounding of the columns before it. Descent then moves
single weights while that lowers the error; `closest` does both. Rows with few weights are
enumerated.

All rows are solved at once. Columns are processed in blocks, so that effects across blocks become
matrix products. A layer with `inputs` weights per row needs about three matrices of `inputs²`
numbers.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tersor.core.grid import Grid
from tersor.core.pairs import Partners, are_safe, beside
from tersor.core.quadratic import Quadratic, Weights, best_weights

Scales = Float[Tensor, "groups outputs"]
_CHOICES = 2**20  # errors that enumeration computes at once


def closest(
    problem: Quadratic,
    weights: Weights,
    scale: Scales,
    grid: Grid,
    partner: Partners | None = None,
    sweeps: int = 20,
) -> Weights:
    """Nearest plane, then descent; also starts from the nearest integers if these are better.

    Args:
        problem: A regular problem, see `Quadratic.damped`.
        weights: The float weights; their nearest integers must be allowed.
        scale: Size of one step for each output.
        grid: The allowed integers.
        partner: Which columns meet, if any; see `tersor.core.pairs`.
        sweeps: Largest number of passes of descent over all weights.

    Returns:
        Integers whose error is no larger than that of nearest rounding, in each row.
    """
    found = nearest_plane(problem, scale, grid, partner)
    found = descend(problem, found, scale, grid, partner, sweeps)
    step, near = scale[..., None], _on_grid(weights / scale[..., None], grid, None)
    worse = problem.error(step * near) < problem.error(step * found)
    if not bool(worse.any()):
        return found
    start = near.where(worse[..., None], found)
    return descend(problem, start, scale, grid, partner, sweeps)


def nearest_plane(
    problem: Quadratic,
    scale: Scales,
    grid: Grid,
    partner: Partners | None = None,
    block: int = 64,
) -> Weights:
    """Round column by column, starting with the largest diagonal element.

    Args:
        problem: A regular problem, see `Quadratic.damped`.
        scale: Size of one step for each output.
        grid: The allowed integers.
        partner: Which columns meet, if any; see `tersor.core.pairs`.
        block: Columns per block.

    Returns:
        The integers.
    """
    order = problem.gram.diagonal(dim1=-2, dim2=-1).argsort(-1)
    wanted = _columns(best_weights(problem), order)
    gram = _columns(_columns(problem.gram, order).mT, order)
    factor = torch.linalg.cholesky(gram, upper=True)
    factor = factor / factor.diagonal(dim1=-2, dim2=-1)[..., None]
    # In the order of the problem; 0, which restricts no partner, until a column is rounded.
    integers, error = torch.zeros_like(wanted), torch.zeros_like(wanted)
    for stop in range(wanted.shape[-1], 0, -block):
        start = max(stop - block, 0)
        inside = slice(start, stop)
        centre = wanted[..., inside] + error[..., stop:] @ factor[:, inside, stop:].mT
        for j in reversed(range(stop - start)):
            column = order[:, start + j]
            other = None if partner is None else _column(integers, partner[column])
            z = _on_grid(centre[..., j] / scale, grid, other)
            integers.scatter_(-1, _like(column[:, None], z[..., None]), z[..., None])
            error[..., start + j] = wanted[..., start + j] - scale * z
            pull = factor[:, inside, start + j]
            centre[..., :j] += error[..., start + j, None] * pull[:, None, :j]
    return integers


def descend(
    problem: Quadratic,
    integers: Weights,
    scale: Scales,
    grid: Grid,
    partner: Partners | None = None,
    sweeps: int = 20,
    block: int = 64,
) -> Weights:
    """Set the weights one by one to their best values, until none moves.

    Args:
        problem: The problem; no diagonal element of G may be zero.
        integers: The starting point.
        scale: Size of one step for each output.
        grid: The allowed integers.
        partner: Which columns meet, if any; see `tersor.core.pairs`.
        sweeps: Largest number of passes over all weights.
        block: Columns per block.

    Returns:
        Integers whose error is no larger than at the start; allowed ones if the start is allowed.
    """
    result = integers.clone()
    residual = problem.target - (scale[..., None] * result) @ problem.gram
    steps = scale[..., None] * problem.gram.diagonal(dim1=-2, dim2=-1)[:, None, :]
    mates = list(range(result.shape[-1])) if partner is None else partner.tolist()
    for _ in range(sweeps):
        moved = False
        for start in range(0, result.shape[-1], block):
            inside = slice(start, start + block)
            delta = _descend_block(problem, result, residual, steps, scale, grid, mates, inside)
            if bool(delta.any()):
                residual -= (scale[..., None] * delta) @ problem.gram[:, inside]
                moved = True
        if not moved:
            break
    return result


def _descend_block(
    problem: Quadratic,
    result: Weights,
    residual: Weights,
    steps: Weights,
    scale: Scales,
    grid: Grid,
    mates: list[int],
    inside: slice,
) -> Float[Tensor, "groups outputs block"]:
    """Update the integers of some columns, and return how far each has moved."""
    before = result[..., inside].clone()
    local = residual[..., inside].clone()
    gram = problem.gram[:, inside, inside]
    for j in range(before.shape[-1]):
        old, column = before[..., j], inside.start + j
        other = None if mates[column] == column else result[..., mates[column]]
        new = _on_grid(old + local[..., j] / steps[..., column], grid, other)
        result[..., column] = new
        local -= (scale * (new - old))[..., None] * gram[:, j, None, :]
    return result[..., inside] - before


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


def _on_grid(x: Tensor, grid: Grid, other: Tensor | None) -> Tensor:
    """The nearest allowed integer, given the other integer of its pair if there is one."""
    if other is None:
        return x.round().clamp(grid.qmin, grid.qmax)
    return x.round().clamp(*beside(other, grid))


def _column(x: Float[Tensor, "groups rows inputs"], index: Int64[Tensor, " groups"]) -> Tensor:
    """One column of each group."""
    return x.gather(-1, _like(index[:, None], x[..., :1])).squeeze(-1)


def _columns(x: Float[Tensor, "groups rows inputs"], order: Tensor) -> Tensor:
    """The columns of each group in another order."""
    return x.gather(-1, _like(order, x))


def _like(order: Tensor, x: Tensor) -> Tensor:
    return order[:, None, :].expand_as(x)
