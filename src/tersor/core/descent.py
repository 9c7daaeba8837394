"""z_j ← round(z_j + r_j / (s G_jj)),  r = b − s z G: moves single weights while that helps.

    E(z) − E(z + δ) = s² δ·(2 r / s − δ G)

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
    least_gain: float = 0.0,
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
        least_gain: The share of its error that a sweep must take from a row; rows from which it
            takes less are left out once they are many.
    """
    step, z = scale[..., None], start.integers
    wanted = problem.target / step
    error = problem.energy / scale.square() + ((start.product - 2 * wanted) * z).sum(-1)
    integers = z.clone(memory_format=torch.contiguous_format)
    partner = partner if partner is None else partner.to(z.device)
    rows = _Descending(problem.gram, integers, wanted - start.product, error.flatten())
    found = Product(integers, rows.residual)
    for _ in range(sweeps):
        gain = _sweep(rows, grid, partner, block)
        rows.error -= gain
        improves = gain > least_gain * rows.error.clamp(min=0)
        if not bool(improves.any()):
            break
        rows = rows.only(improves, found)
    rows.store(found)
    return Product(found.integers, wanted - found.product)


@dataclass
class _Descending:
    """Rows that descend, all of them or those that still improve.

    Attributes:
        gram: G.
        integers: z.
        residual: b / s − z G.
        error: What is left of each row, in squared steps.
        places: Where the rows are among all, if they are some of a single group.
    """

    gram: Tensor
    integers: Weights
    residual: Weights
    error: Float[Tensor, " rows"]
    places: Int64[Tensor, " rows"] | None = None

    def only(self, improves: Bool[Tensor, " rows"], found: Product) -> "_Descending":
        """The rows that improve, if they are so few that it pays to leave the others out.

        Args:
            improves: Which do.
            found: Where the rows are stored, whose product holds their residuals.
        """
        if len(self.gram) > 1 or int(improves.sum()) > _LEFT * len(improves):
            return self
        self.store(found)
        left = improves.nonzero().squeeze(-1)
        places = left if self.places is None else self.places[left]
        parts = self.integers[:, left], self.residual[:, left], self.error[left]
        return _Descending(self.gram, *parts, places)

    def store(self, found: Product) -> None:
        """Write integers and residuals to where those of all rows are."""
        if self.places is not None:
            found.integers[:, self.places] = self.integers
            found.product[:, self.places] = self.residual


def _sweep(
    rows: _Descending, grid: Grid, partner: Partners | None, block: int
) -> Float[Tensor, " rows"]:
    """Settle block after block; what each row gains, in squared steps."""
    gain, flat = torch.zeros_like(rows.error), rows.residual.flatten(0, 1)
    for first in range(0, rows.integers.shape[-1], block):
        inside = slice(first, first + block)
        active, delta = _settle(rows.gram, rows.integers, rows.residual, grid, partner, inside)
        if len(active):
            before = flat[active, inside]
            _move(rows.gram, rows.integers, rows.residual, inside, active, delta)
            gain[active] += (delta * (before + flat[active, inside])).sum(-1)
    return gain


def _move(
    gram: Tensor,
    integers: Weights,
    residual: Weights,
    inside: slice,
    active: Int64[Tensor, " rows"],
    delta: Float[Tensor, "rows block"],
) -> None:
    """Change the integers of a block by δ, and all residuals, by the rows of G for what moves."""
    integers.flatten(0, 1)[active, inside] += delta
    rows, columns = delta.nonzero(as_tuple=True)
    group = active // integers.shape[1]
    index = group[rows] * gram.shape[1] + inside.start + columns
    first = torch.searchsorted(rows, torch.arange(len(active), device=rows.device))
    weights = delta[rows, columns]
    pulls = F.embedding_bag(
        index, gram.flatten(0, 1), first, mode="sum", per_sample_weights=weights
    )
    residual.flatten(0, 1).index_add_(0, active, pulls, alpha=-1)


@dataclass
class _Rows:
    """Rows of a block that may still improve; what is the same for all is there once.

    Attributes:
        z: Integers.
        r: Residuals in steps, r / s.
        curvature: The diagonal of G.
        low: The smallest allowed integers, with a last column for those that have no partner here.
        high: The largest allowed integers, likewise.
        first: The first row of the Gram matrix of each row's group.
        one_curvature: Whether all rows have the same curvature.
        one_range: Whether all weights may have the same integers.
    """

    z: Tensor
    r: Tensor
    curvature: Tensor
    low: Tensor
    high: Tensor
    first: Int64[Tensor, " rows"]
    one_curvature: bool
    one_range: bool

    def moves(self) -> Tensor:
        """How far each weight alone would move."""
        width = self.z.shape[-1]
        best = torch.addcdiv(self.z, self.r, self.curvature).round_()
        return best.clamp_(self.low[..., :width], self.high[..., :width]).sub_(self.z)

    def __getitem__(self, rows: Tensor) -> "_Rows":
        curvature, low, high = self.curvature, self.low, self.high
        if not self.one_curvature:
            curvature = curvature[rows]
        if not self.one_range:
            low, high = low[rows], high[rows]
        parts = self.z[rows], self.r[rows], curvature, low, high, self.first[rows]
        return _Rows(*parts, self.one_curvature, self.one_range)


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
    low, high = (z.new_tensor(end).expand(1, 1, width + 1) for end in (grid.qmin, grid.qmax))
    if partner is not None:
        mates = partner[inside]
        alone = mates == torch.arange(len(partner), device=mates.device)[inside]
        low, high = beside(F.pad(integers[..., mates].masked_fill(alone, 0), (0, 1)), grid)
    curvature = own.diagonal(dim1=-2, dim2=-1)[:, None]
    curvature = curvature if groups == 1 else curvature.expand(-1, outputs, -1)
    first = (torch.arange(groups, device=z.device) * width).repeat_interleave(outputs)
    z, r, curvature, low, high = (
        part.flatten(0, 1) for part in (z, residual[..., inside], curvature, low, high)
    )
    return _Rows(z, r, curvature, low, high, first, groups == 1, partner is None)
