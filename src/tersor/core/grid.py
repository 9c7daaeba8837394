"""Integer grids: which integers a tensor may take."""

from dataclasses import dataclass
from math import log2

import torch

from tersor.errors import InvalidInputError

_CONTAINERS = (4, 8, 16, 32)


@dataclass(frozen=True)
class Grid:
    """The integers `qmin … qmax` that a quantized tensor may take.

    Attributes:
        bits: Width in bits, 2 to 32.
        signed: Two's complement (`-2^(bits-1) … 2^(bits-1)-1`) or unsigned (`0 … 2^bits-1`).
        symmetric: The zero point is fixed at 0. A symmetric unsigned grid holds values ≥ 0 only.

    Raises:
        InvalidInputError: If `bits` is not between 2 and 32.
    """

    bits: int = 8
    signed: bool = False
    symmetric: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32:
            raise InvalidInputError(f"Grid: bits={self.bits}; choose a width from 2 to 32 bits.")

    @property
    def qmin(self) -> int:
        """Smallest integer of the grid."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest integer of the grid."""
        return 2 ** (self.bits - self.signed) - 1

    @property
    def steps(self) -> int:
        """Number of steps from `qmin` to `qmax`."""
        return self.qmax - self.qmin

    @property
    def container(self) -> int:
        """Width of the smallest storage type that holds the grid: 4, 8, 16 or 32 bits."""
        return next(width for width in _CONTAINERS if width >= self.bits)

    def limits(self, dtype: torch.dtype) -> tuple[float, float]:
        """The outermost integers of the grid that a floating-point `dtype` holds exactly.

        They are `(qmin, qmax)` wherever possible. float32 holds no `2^31 - 1` and would round it
        up to `2^31`, which is outside an int32; the limit is then `2^31 - 128`.
        """
        info = torch.finfo(dtype)
        digits = 1 - round(log2(info.eps))
        spare = max(0, self.qmax.bit_length() - digits)
        return max(float(self.qmin), info.min), min(float(self.qmax >> spare << spare), info.max)
