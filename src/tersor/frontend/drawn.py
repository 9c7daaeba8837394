"""Draws a random input of which only the shape and the type are known."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tersor.core.whole_range import whole_range


def draw(
    shape: Sequence[int],
    dtype: torch.dtype,
    limits: tuple[float, float] | None,
    generator: torch.Generator,
    rows: int | None = None,
) -> Tensor:
    """Draw a tensor.

    Floats are uniform within the limits, or else standard normal. 8-bit integers are uniform within
    the limits, or else over all that their type has. Wider integers are zeros and ones, which every
    table has and every mask may hold.

    Args:
        shape: Its sizes.
        dtype: Its type.
        limits: Smallest and largest value.
        generator: The random numbers.
        rows: Rows of the table in which it is looked up; integers are less.
    """
    sizes = tuple(shape)
    if not dtype.is_floating_point:
        whole = whole_range(dtype)
        low, high = (0, 1) if whole is None else map(int, limits or whole)
        if rows is not None:
            low, high = max(low, 0), min(high, rows - 1)
        return torch.randint(min(low, high), high + 1, sizes, generator=generator).to(dtype)
    if limits is None:
        return torch.randn(sizes, generator=generator).to(dtype)
    low, high = limits
    return (low + (high - low) * torch.rand(sizes, generator=generator)).to(dtype)
