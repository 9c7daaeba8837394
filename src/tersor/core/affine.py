"""Affine quantization: the one place where real numbers become integers and come back.

    q  = clamp(round(x / scale) + zero_point, qmin, qmax)
    x̂  = (q - zero_point) · scale

Rounding is to nearest, ties to even, and `x` is divided by the scale (not multiplied by its
inverse): the definition of ONNX QuantizeLinear and DequantizeLinear, bit for bit.

`scale` and `zero_point` are 0-d (one for the tensor) or 1-d along `axis` (one per channel).
Integers are returned in the floating-point dtype of `x`, which must hold the zero point: all
integers up to 2^24 in float32, up to 2^11 in float16. Wider grids whose zero point is 0 lose
nothing but the rounding of the dtype itself.
"""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from tersor.core.grid import Grid
from tersor.errors import InvalidInputError

Scale = Float[Tensor, ""] | Float[Tensor, "channels"]
ZeroPoint = Real[Tensor, ""] | Real[Tensor, "channels"]
_WIDE = 32  # bits of a type that holds the sum of two limits


def quantize(
    x: Float[Tensor, "*shape"],
    scale: Scale,
    zero_point: ZeroPoint,
    grid: Grid,
    axis: int | None = None,
) -> Float[Tensor, "*shape"]:
    """Map real values to integers: `clamp(round(x / scale) + zero_point, qmin, qmax)`.

    Args:
        x: Real values.
        scale: Size of one step, in the unit of `x`; positive.
        zero_point: The integer that stands for 0.0.
        grid: Allowed integers.
        axis: Channel axis of `x` for 1-d `scale` and `zero_point`.

    Returns:
        Integers, in the dtype of `x`.

    Raises:
        InvalidInputError: If a 1-d scale or zero point does not fit `axis`.
    """
    steps = torch.div(x, _along(scale, x, axis))  # a new tensor, changed in place from here on
    return steps.round_().add_(_along(zero_point, x, axis)).clamp_(*grid.limits(x.dtype))


def dequantize(
    q: Float[Tensor, "*shape"],
    scale: Scale,
    zero_point: ZeroPoint,
    axis: int | None = None,
) -> Float[Tensor, "*shape"]:
    """Map integers back to real values: `(q - zero_point) · scale`.

    Args:
        q: Integers in a floating-point dtype.
        scale: Size of one step.
        zero_point: The integer that stands for 0.0.
        axis: Channel axis of `q` for 1-d `scale` and `zero_point`.

    Returns:
        Real values, in the dtype of `q`.

    Raises:
        InvalidInputError: If a 1-d scale or zero point does not fit `axis`.
    """
    return torch.sub(q, _along(zero_point, q, axis)).mul_(_along(scale, q, axis))


def fake_quantize(
    x: Float[Tensor, "*shape"],
    scale: Scale,
    zero_point: ZeroPoint,
    grid: Grid,
    axis: int | None = None,
) -> Float[Tensor, "*shape"]:
    """Round `x` to the values that the grid can represent; for the arguments see `quantize`.

    (clamp(q + zero_point, qmin, qmax) − zero_point) · scale = clamp(q, qmin − zero_point, qmax −
    zero_point) · scale, as all of these are integers, and that takes fewer passes over the values.
    """
    is_number = zero_point.is_cpu and not zero_point.ndim and not zero_point.requires_grad
    is_wide = is_number and torch.finfo(x.dtype).bits >= _WIDE
    if not (is_wide or grid.symmetric):
        return dequantize(quantize(x, scale, zero_point, grid, axis), scale, zero_point, axis)
    (low, high), zero = grid.limits(x.dtype), 0.0 if grid.symmetric else float(zero_point)
    step = _along(scale, x, axis)
    return torch.div(x, step).round_().clamp_(low - zero, high - zero).mul_(step)


def _along(parameter: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """Cast `parameter` to the dtype of `x` and shape it to broadcast along `axis` of `x`."""
    parameter = parameter.to(x.dtype)
    if parameter.ndim == 0:
        return parameter
    if axis is None or not -x.ndim <= axis < x.ndim or parameter.shape[0] != x.shape[axis]:
        raise InvalidInputError(
            f"a scale or zero point with {parameter.shape[0]} channels does not fit axis {axis} "
            f"of a tensor of shape {tuple(x.shape)}; give one value, or one per channel of `axis`."
        )
    shape = [1] * x.ndim
    shape[axis] = -1
    return parameter.view(shape)
