"""z_j ← round(z_j + r_j / (s G_jj)),  r = b − s z G: moves single weights while that helps.

    E(z) − E(z + δ e_j) = s² δ (2 r_j / s − δ G_jj)

In a block of columns, every row moves the weight that decreases its error most, until none can.
Few weights move at all, so few steps settle a block, and rows without a move are left out.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tersor.core.grid import Grid
from tersor.core.pairs import Partners, beside
from tersor.core.quadratic import Quadratic, Weights

_BLOCK = 256
_TURNS = 2  # steps for each column of a block, at most
_SPARSE = 4  # moves per row of a block, up to which each alone is faster than a matrix product
_LEFT = 0.75  # share of rows that still improve, below which the others are left out


@dataclass(frozen=True)
class Product:
    """Integers with what descent keeps track of.

    Attributes:
        integers: z.
        product: z G.
    """

    integers: Weights
    product: Weights


def descend(
    problem: Quadratic,
    integers: Weights,
    scale: Float[Tensor, "groups outputs"],
    grid: Grid,
    partner: Partners | None = None,
    sweeps: int = 20,
    block: int = _BLOCK,
) -> Weights:
    """Set single weights to their best values, until none moves.

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
    start = Product(integers, integers @ problem.gram)
    return descend_from(start, problem, scale, grid, partner, sweeps, block).integers


def descend_from(
    start: Product,
    problem: Quadratic,
    scale: Float[Tensor, "groups outputs"],
    grid: Grid,
    partner: Partners | None = None,
    sweeps: int = 20,
    block: int = _BLOCK,
) -> Product:
    """Descend from integers whose product with G is known; see `descend`.

    Args:
        start: The starting point.
        problem: See `descend`.
        scale: See `descend`.
        grid: See `descend`.
        partner: See `descend`.
        sweeps: See `descend`.
        block: See `descend`.
    """
    integers, wanted = start.integers, problem.target / scale[..., None]
    result = integers.clone(memory_format=torch.contiguous_format)
    partner = partner if partner is None else partner.to(result.device)
    residual = wanted - start.product
    for _ in range(sweeps):
        moved = False
        for first in range(0, result.shape[-1], block):
            inside = slice(first, first + block)
            active, delta = _settle(problem.gram, result, residual, grid, partner, inside)
            if len(active):
                _move(problem.gram, result, residual, inside, active, delta)
                moved = True
        if not moved:
            break
    return Product(result, wanted - residual)


def _move(
    gram: Tensor,
    integers: Weights,
    residual: Weights,
    inside: slice,
    active: Int64[Tensor, " rows"],
    delta: Float[Tensor, "rows block"],
) -> None:
    """Change the integers of a block by δ, and all residuals."""
    flat = integers.flatten(0, 1)
    flat[active, inside] += delta
    if len(gram) == 1:
        rows, columns = delta.nonzero(as_tuple=True)
        if len(rows) <= _SPARSE * len(delta):
            pulls = gram[0, inside][columns].mul_(delta[rows, columns, None])
            residual[0].index_add_(0, active[rows], pulls, alpha=-1)
            return
        residual[0].index_add_(0, active, delta @ gram[0, inside], alpha=-1)
        return
    full = delta.new_zeros(len(flat), delta.shape[1])
    full[active] = delta
    residual.baddbmm_(full.unflatten(0, integers.shape[:2]), gram[:, inside], alpha=-1)


@dataclass
class _Rows:
    """Rows of a block that may still improve.

    Attributes:
        z: Integers.
        r: Residuals in steps, r / s.
        curvature: The diagonal of G.
        low: The smallest allowed integers, with a last column for those that have no partner here.
        high: The largest allowed integers, likewise.
        first: The first row of the Gram matrix of each row's group.
    """

    z: Tensor
    r: Tensor
    curvature: Tensor
    low: Tensor
    high: Tensor
    first: Int64[Tensor, " rows"]

    def moves(self) -> Tensor:
        """How far each weight alone would move."""
        width = self.z.shape[-1]
        best = torch.addcdiv(self.z, self.r, self.curvature).round_()
        return best.clamp_(self.low[..., :width], self.high[..., :width]).sub_(self.z)

    def __getitem__(self, rows: Tensor) -> "_Rows":
        parts = self.z, self.r, self.curvature, self.low, self.high, self.first
        return _Rows(*(part[rows] for part in parts))


def _settle(
    gram: Tensor,
    integers: Weights,
    residual: Weights,
    grid: Grid,
    partner: Partners | None,
    inside: slice,
) -> tuple[Int64[Tensor, " rows"], Float[Tensor, "rows block"]]:
    """Find out which rows of a block move, and how far."""
    own = gram[:, inside, inside]
    rows = _rows(own, integers, residual, grid, partner, inside)
    active = (rows.moves() != 0).any(-1).nonzero().squeeze(-1)
    if not len(active):
        return active, rows.z[:0]
    rows = rows[active]
    mates = None if partner is None else _mates(partner, inside, own.shape[-1])
    start, result, pull = rows.z.clone(), rows.z.clone(), own.flatten(0, 1)
    left = torch.arange(len(active), device=active.device)
    for _ in range(_TURNS * own.shape[-1]):
        improves = _step(rows, pull, grid, mates)
        count = int(improves.sum())
        if count <= _LEFT * len(improves):
            result[left] = rows.z
            left, rows = left[improves], rows[improves]
        if not count:
            break
    result[left] = rows.z
    return active, result - start


def _step(
    rows: _Rows, pull: Tensor, grid: Grid, mates: Int64[Tensor, " block"] | None
) -> Bool[Tensor, " rows"]:
    """Move the best weight of every row; whether the row improves by that."""
    delta = rows.moves()
    gain = torch.addcmul(rows.r, delta, rows.curvature, value=-0.5).mul_(delta)
    most, at = gain.max(-1, keepdim=True)
    improves = most > 0
    move = delta.gather(1, at) * improves
    rows.z.scatter_add_(1, at, move)
    rows.r.addcmul_(pull[rows.first + at.squeeze(1)], move, value=-1)
    if mates is not None:
        low, high = beside(rows.z.gather(1, at), grid)
        rows.low.scatter_(1, mates[at], low)
        rows.high.scatter_(1, mates[at], high)
    return improves.squeeze(1)


def _mates(partner: Partners, inside: slice, width: int) -> Int64[Tensor, " block"]:
    """The place of each column's partner in a block, the place behind it if it is not inside."""
    places = torch.arange(width, device=partner.device)
    mates = partner[inside] - inside.start
    return torch.where((mates >= 0) & (mates < width) & (mates != places), mates, width)


def _rows(
    own: Tensor,
    integers: Weights,
    residual: Weights,
    grid: Grid,
    partner: Partners | None,
    inside: slice,
) -> _Rows:
    """All rows of a block."""
    z = integers[..., inside]
    groups, outputs, width = z.shape
    shape = groups, outputs, width + 1
    low, high = (z.new_tensor(end).expand(shape) for end in (grid.qmin, grid.qmax))
    if partner is not None:
        mates = partner[inside]
        alone = mates == torch.arange(len(partner), device=mates.device)[inside]
        low, high = beside(F.pad(integers[..., mates].masked_fill(alone, 0), (0, 1)), grid)
    curvature = own.diagonal(dim1=-2, dim2=-1)[:, None].expand(-1, outputs, -1)
    first = (torch.arange(groups, device=z.device) * width).repeat_interleave(outputs)
    parts = z, residual[..., inside], curvature, low, high
    return _Rows(*[part.flatten(0, 1) for part in parts], first=first)
