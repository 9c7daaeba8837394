"""z_j = round(a_j / s + Σ_{k>j} R_jk (a_k / s − z_k) / R_jj),  G = RᵀR, a = b G⁻¹: nearest plane.

This is GPTQ (arXiv 2210.17323), which is Babai's nearest plane algorithm on the lattice of the Gram
matrix: each column compensates the rounding of the columns before it. Columns of a large diagonal
element of G come first.

A problem is factorized once, and then rounded with any scales. All rows are rounded at once, and
columns in blocks, so that effects across blocks become matrix products.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tersor.core.grid import Grid
from tersor.core.pairs import Partners, beside
from tersor.core.quadratic import Quadratic, Weights

Scales = Float[Tensor, "groups outputs"]
_BLOCK = 64


@dataclass(frozen=True)
class Plane:
    """A factorized problem.

    Attributes:
        order: The columns of each group, the last one first to be rounded.
        factor: R with rows divided by their diagonal element, in this order.
        diagonal: The diagonal elements of R.
    """

    order: Int64[Tensor, "groups inputs"]
    factor: Float[Tensor, "groups inputs inputs"]
    diagonal: Float[Tensor, "groups inputs"]

    def split(self, groups: int) -> list["Plane"]:
        """Split into several problems of so many groups each."""
        parts = (self.order, self.factor, self.diagonal)
        return [Plane(*part) for part in zip(*(x.split(groups) for x in parts), strict=True)]

    def wanted(self, target: Weights) -> Weights:
        """a = b G⁻¹: the weights of least error among all real numbers.

        Args:
            target: b, for any number of rows.
        """
        solve = partial(torch.linalg.solve_triangular, unitriangular=True)
        half = solve(self.factor.mT, _ordered(target, self.order).mT, upper=False)
        half = half.div_(self.diagonal.square()[..., None])
        found = solve(self.factor, half, upper=True).mT
        return torch.empty_like(target).scatter_(-1, _like(self.order, found), found)

    def round(
        self,
        wanted: Weights,
        scale: Scales,
        grid: Grid,
        partner: Partners | None = None,
        block: int = _BLOCK,
    ) -> Weights:
        """Round column by column.

        Args:
            wanted: a, for any number of rows.
            scale: Size of one step for each row.
            grid: The allowed integers.
            partner: Which columns meet, if any; see `tersor.core.pairs`.
            block: Columns per block.

        Returns:
            The integers.
        """
        # Columns come before rows here, so that the numbers of a column lie next to each other.
        index = self.order[:, :, None].expand(-1, -1, wanted.shape[1])
        centre = (wanted / scale[..., None]).mT.gather(1, index)
        # 0, which restricts no partner, until a column is rounded.
        integers, error = torch.zeros_like(centre), centre.clone()
        mates = None if partner is None else _positions(self.order, partner)
        for stop in range(centre.shape[1], 0, -block):
            inside = slice(max(stop - block, 0), stop)
            local = centre[:, inside]
            local += self.factor[:, inside, stop:] @ error[:, stop:]
            bounds = _Bounds(integers, grid, mates, inside)
            self._round_block(local, bounds, integers[:, inside], error[:, inside], inside)
        return torch.empty_like(integers).scatter_(1, index, integers).mT.contiguous()

    def _round_block(
        self, centre: Tensor, bounds: "_Bounds", integers: Tensor, error: Tensor, inside: slice
    ) -> None:
        """Round the columns of one block, last one first."""
        pull = self.factor[:, inside, inside].mT.contiguous()[..., None].unbind(1)
        wanted, z, left = centre.unbind(1), integers.unbind(1), error.split(1, 1)
        for j in reversed(range(len(wanted))):
            z[j].copy_(bounds.nearest(wanted[j], j))
            left[j][:, 0].sub_(z[j])
            centre[:, :j].addcmul_(pull[j][:, :j], left[j])


class _Bounds:
    """The integers that the columns of one block may take, given those that are rounded already."""

    def __init__(self, integers: Tensor, grid: Grid, mates: Tensor | None, inside: slice) -> None:
        self.integers, self.grid, self.mates, self.start = integers, grid, mates, inside.start
        if mates is None:
            return
        own = mates[:, inside]
        index = own[..., None].expand(-1, -1, integers.shape[-1])
        self.low, self.high = beside(integers.gather(1, index), grid)
        here = torch.arange(inside.start, inside.stop, device=own.device)
        self.late = ((own > here) & (own < inside.stop)).any(0).tolist()

    def nearest(self, x: Tensor, j: int) -> Tensor:
        """Round the j-th column of the block."""
        if self.mates is None:
            return x.round().clamp_(self.grid.qmin, self.grid.qmax)
        if not self.late[j]:
            return x.round().clamp_(self.low[:, j], self.high[:, j])
        mate = self.mates[:, self.start + j, None, None].expand(-1, 1, x.shape[-1])
        return x.round().clamp_(*beside(self.integers.gather(1, mate)[:, 0], self.grid))


def factorized(problem: Quadratic) -> Plane:
    """Factorize a problem.

    Args:
        problem: A regular problem, see `Quadratic.damped`; at most two more matrices of its size
            are needed at a time.
    """
    order = problem.gram.diagonal(dim1=-2, dim2=-1).argsort(-1)
    lower = torch.linalg.cholesky(_reordered(problem.gram, order))
    diagonal = lower.diagonal(dim1=-2, dim2=-1).clone()
    return Plane(order, lower.mT.div_(diagonal[..., None]), diagonal)


def nearest_plane(
    problem: Quadratic,
    scale: Scales,
    grid: Grid,
    partner: Partners | None = None,
    block: int = _BLOCK,
) -> Weights:
    """Factorize a problem and round once.

    Args:
        problem: A regular problem, see `Quadratic.damped`.
        scale: See `Plane.round`.
        grid: See `Plane.round`.
        partner: See `Plane.round`.
        block: See `Plane.round`.

    Returns:
        The integers.
    """
    plane = factorized(problem)
    return plane.round(plane.wanted(problem.target), scale, grid, partner, block)


def _positions(order: Tensor, partner: Partners) -> Int64[Tensor, "groups inputs"]:
    """Where the partner of the column at each place of the order is in the order."""
    return order.argsort(-1).gather(-1, partner.to(order.device)[order])


def _reordered(
    gram: Float[Tensor, "groups inputs inputs"], order: Tensor
) -> Float[Tensor, "groups inputs inputs"]:
    """The rows and the columns of each group in another order; whole rows are copied first."""
    rows = order.new_tensor(range(len(gram)))[:, None]
    return _ordered(gram[rows, order], order)


def _ordered(x: Float[Tensor, "groups rows inputs"], order: Tensor) -> Tensor:
    """The columns of each group in another order."""
    return x.gather(-1, _like(order, x))


def _like(order: Tensor, x: Tensor) -> Tensor:
    return order[:, None, :].expand_as(x)
