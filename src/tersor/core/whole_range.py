"""The range of the integer types that hold pictures and sound."""

import torch


def whole_range(dtype: torch.dtype) -> tuple[float, float] | None:
    """The smallest and largest value of an 8-bit integer; None for any other type.

    Pictures and sound take all values of their type. Wider integers are mostly indices, counts or
    masks, of which the type tells nothing.

    Args:
        dtype: Any type.
    """
    if dtype not in (torch.uint8, torch.int8):
        return None
    limits = torch.iinfo(dtype)
    return float(limits.min), float(limits.max)
