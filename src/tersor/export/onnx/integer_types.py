"""The integers of files: their types, and clips that move onto them."""

from typing import Any

import torch
from torch import Tensor, fx

from tersor.core.affine import quantize
from tersor.core.grid import Grid
from tersor.errors import UnsupportedError
from tersor.graph.ops import clip_bounds
from tersor.quant.placement.quantizer import FakeQuantize, fineness
from tersor.quant.scheme import FUSED

_NUMBERS = 1 << 20  # that are converted at a time
_STORAGE = {
    (8, False): torch.uint8,
    (8, True): torch.int8,
    (16, False): torch.uint16,
    (16, True): torch.int16,
    (32, True): torch.int32,
}


def container(grid: Grid) -> torch.dtype:
    """The integer dtype that holds a grid; at least 8 bits wide.

    Raises:
        UnsupportedError: ONNX DequantizeLinear reads no unsigned integers beyond 16 bits.
    """
    dtype = _STORAGE.get((max(grid.container, 8), grid.signed))
    if dtype is None:
        raise UnsupportedError(
            f"ONNX stores no unsigned grid of {grid.bits} bits; use at most 16 bits, or a signed "
            "grid"
        )
    return dtype


def to_integers(
    value: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid, axis: int | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a file stores of a value: its integers, their scale, and the zero point.

    Args:
        value: The real numbers.
        scale: The step of the grid.
        zero_point: The integer that stands for 0.
        grid: The grid.
        axis: The axis along which scales differ; None if there is one for all.

    Returns:
        The zero point is None where a file need not have it. onnxruntime reads a missing one as 0,
        but not in its Gemm; biases never need one.

    Raises:
        UnsupportedError: No type holds the grid; see `container`.
    """
    dtype, finer = container(grid), fineness(grid)
    integers = torch.empty_like(value, dtype=dtype)
    for rows in _blocks(value):
        of_rows = rows if scale.ndim and axis == 0 else ...
        found = quantize(value[rows], scale[of_rows], zero_point[of_rows], grid, axis)
        integers[rows] = found.mul_(finer)
    needs_zero = grid.bits < 32 or bool(zero_point.any())
    return integers, scale / finer, zero_point.to(dtype) if needs_zero else None


def _blocks(value: Tensor) -> list[Any]:
    """Divide a value into rows, so that the floats in between take little memory."""
    if not value.ndim:
        return [...]
    rows = max(1, _NUMBERS * len(value) // max(1, value.numel()))
    return [slice(start, start + rows) for start in range(0, len(value), rows)]


def clip_on_integers(source: fx.Node, module: FakeQuantize) -> tuple[int, int] | None:
    """Move a ReLU or clip behind the quantizer: q(clip(x, l, h)) = clip(q(x), q(l), q(h)), exactly.

    Runtimes compute a layer in integers if its QuantizeLinear follows directly.

    Args:
        source: The value that is quantized.
        module: The quantizer.

    Returns:
        The integers that remain; None if the value is no clip, or is also read elsewhere.
    """
    grid = module.grid
    bounds = clip_bounds(source) if source.target in FUSED else None
    if bounds is None or len(source.users) > 1 or module.scale.ndim:
        return None
    ends = torch.tensor(bounds, dtype=module.scale.dtype, device=module.scale.device)
    low, high = quantize(ends, module.scale, module.zero_point, grid).int().tolist()
    return low, high
