"""The values of an activation as the integers that they were rounded to, in one or two bytes each.

    x̂ = (q − zero point) · scale

Four bytes of floating point hold nothing more: what comes back is the same, to the bit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.affine import Scale, ZeroPoint, dequantize, quantize
from tersor.core.grid import Grid

_CONTAINERS = {
    (8, False): torch.uint8,
    (8, True): torch.int8,
    (16, False): torch.uint16,
    (16, True): torch.int16,
}


@dataclass(frozen=True)
class Codes:
    """Rounded values.

    Attributes:
        integers: q, in the smallest type that holds the grid.
        scale: Size of one step, 0-d or along `axis`.
        zero_point: The integer that stands for 0.0.
        axis: Channel axis of 1-d scales.
        dtype: Of the values.
    """

    integers: Tensor
    scale: Tensor
    zero_point: Tensor
    axis: int | None
    dtype: torch.dtype

    def value(self) -> Tensor:
        """The rounded values, as `tersor.core.affine.fake_quantize` gives them."""
        return dequantize(self.integers.to(self.dtype), self.scale, self.zero_point, self.axis)


def codes(
    x: Float[Tensor, "*shape"],
    scale: Scale,
    zero_point: ZeroPoint,
    grid: Grid,
    axis: int | None = None,
) -> Codes | None:
    """Round values to their integers; None for wide grids, and for NaN, which is no integer.

    Args:
        x: Real values.
        scale: See `tersor.core.affine.quantize`.
        zero_point: See `tersor.core.affine.quantize`.
        grid: Allowed integers.
        axis: See `tersor.core.affine.quantize`.
    """
    container = _CONTAINERS.get((max(grid.container, 8), grid.signed))
    if container is None:
        return None
    integers = quantize(x, scale, zero_point, grid, axis)
    if bool(integers.sum().isnan()):
        return None
    return Codes(integers.to(container), scale, zero_point, axis, x.dtype)
