"""qmin ≤ z_j + z_p ≤ −qmin: integers that meet in one lane of a saturating kernel.

x86 kernels without VNNI add `a₀z₀ + a₁z₁` of two uint8 activations and two int8 weights in
saturating int16 (`vpmaddubsw`). With `a ≤ 255` the sum is exact if and only if

    −32768 ≤ 255 (z₀ + z₁) ≤ 32767   for weights of one sign, that is   −128 ≤ z₀ + z₁ ≤ 128,

and always for weights of two signs. Which weights meet is a table of partners: `partner[j]` is the
column that column j meets, or j itself if it meets none.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tersor.core.grid import Grid

Partners = Int64[Tensor, " inputs"]


def lane_partners(inputs: int, taps: int = 1) -> Partners:
    """The partners if neighbours meet in pairs, with the channels moved to the end.

    Args:
        inputs: Input channels.
        taps: Taps of the kernel.

    Returns:
        The partner of every column of a weight `[..., inputs, taps]` with its last axes flattened.
    """
    order = torch.arange(inputs * taps).reshape(inputs, taps).T.flatten()
    partner = torch.arange(len(order))
    first, second = order[: len(order) // 2 * 2].reshape(-1, 2).T
    partner[first], partner[second] = second, first
    return partner


def beside(
    other: Float[Tensor, "*shape"], grid: Grid
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """The smallest and the largest integer that may meet another one.

    Args:
        other: The other integer; next to 0 the whole grid is allowed.
        grid: A signed grid.
    """
    return (grid.qmin - other).clamp(min=grid.qmin), (-grid.qmin - other).clamp(max=grid.qmax)


def are_safe(
    integers: Float[Tensor, "*rows inputs"], partner: Partners, grid: Grid
) -> Bool[Tensor, "*rows"]:
    """Whether no pair in a row saturates.

    Args:
        integers: z, inside the grid.
        partner: Which columns meet.
        grid: A signed grid.
    """
    meets = partner != torch.arange(len(partner), device=partner.device)
    total = (integers + integers[..., partner])[..., meets]
    return (total.abs() <= -grid.qmin).all(-1)
