"""Sums, products, means, tables and steps of integers: from the inputs of a node to its output."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.core.affine import dequantize, quantize
from tersor.core.grid import Grid
from tersor.core.mlas.averages import whole_average, window_average
from tersor.core.mlas.integer_add import Stepped, add, multiply
from tersor.core.mlas.requantize import Limits
from tersor.core.mlas.value_tables import Function, leaky_relu, logistic, look_up, table
from tersor.export.proof.exact.call import Call, Unknown, integers, limits_of

_IMAGE = 4  # axes of a batch of images


def quantize_linear(call: Call) -> np.ndarray:
    """QuantizeLinear to 8 bits."""
    dtype = call.array(2).dtype
    grid = Grid(8, signed=bool(limits_of(dtype)[0]))
    found = call.floats(0), call.scale(1), call.zero(2)
    _check_real(call)
    axis = call.attribute("axis", 1) if found[1].ndim else None
    return integers(quantize(*found, grid, axis), dtype)


def dequantize_linear(call: Call) -> np.ndarray:
    """DequantizeLinear of 8 bits, and of biases: (q − z) · s."""
    dtype = call.array(0).dtype
    if dtype != np.int32:
        limits_of(dtype)
    if call.attribute("block_size", 0):
        raise Unknown
    scale = call.scale(1)
    axis = call.attribute("axis", 1) if scale.ndim else None
    return dequantize(call.floats(0), scale, call.zero(2), axis).numpy()


def qlinear_add(call: Call) -> np.ndarray:
    """QLinearAdd."""
    return _pairwise(call, add)


def qlinear_mul(call: Call) -> np.ndarray:
    """QLinearMul."""
    return _pairwise(call, multiply)


def qlinear_global_average_pool(call: Call) -> np.ndarray:
    """QLinearGlobalAveragePool."""
    return _pooled(call, whole_average)


def qlinear_average_pool(call: Call) -> np.ndarray:
    """QLinearAveragePool of images."""
    kernel = call.attribute("kernel_shape")
    auto = call.attribute("auto_pad", b"NOTSET") != b"NOTSET"
    if auto or call.attribute("ceil_mode", 0) or call.array(0).ndim != _IMAGE:
        raise Unknown

    def average(x: Tensor, of_x: Stepped, of_y: Stepped, limits: Limits) -> Tensor:
        stride = call.attribute("strides", [1, 1])
        padding = call.attribute("pads", [0, 0, 0, 0])
        counts = bool(call.attribute("count_include_pad", 0))
        return window_average(x, of_x, of_y, kernel, stride, padding, counts, limits)

    return _pooled(call, average)


def qlinear_concat(call: Call) -> np.ndarray:
    """QLinearConcat: what has other steps than the output goes through a table."""
    of_y, dtype = call.stepped(0), call.array(1).dtype
    limits = limits_of(dtype)
    parts = []
    for position in range(2, len(call.arrays), 3):
        of_x, x = call.stepped(position + 1), call.floats(position)
        is_alike = of_x.zero_point == of_y.zero_point and bool(of_x.scale == of_y.scale)
        values = table(lambda real: real, of_x, of_y, limits)
        parts.append(x if is_alike else look_up(x, values, limits))
    return integers(torch.cat(parts, call.attribute("axis")), dtype)


def qlinear_sigmoid(call: Call) -> np.ndarray:
    """QLinearSigmoid."""
    return _looked_up(call, logistic)


def qlinear_leaky_relu(call: Call) -> np.ndarray:
    """QLinearLeakyRelu."""
    return _looked_up(call, leaky_relu(call.attribute("alpha", 0.01)))


def _pairwise(call: Call, combine: Callable[..., Tensor]) -> np.ndarray:
    of_a, of_b, of_c = (call.stepped(position) for position in (1, 4, 6))
    a, b = call.floats(0), call.floats(3)
    dtype = call.array(0).dtype
    return integers(combine(a, of_a, b, of_b, of_c, limits_of(dtype)), dtype)


def _pooled(call: Call, average: Callable[..., Tensor]) -> np.ndarray:
    dtype, x = call.array(0).dtype, call.floats(0)
    channels_last = bool(call.attribute("channels_last", 0))
    x = x.movedim(-1, 1) if channels_last else x
    y = average(x, call.stepped(1), call.stepped(3), limits_of(dtype))
    return integers(y.movedim(1, -1) if channels_last else y, dtype)


def _looked_up(call: Call, function: Function) -> np.ndarray:
    dtype = call.array(0).dtype
    limits = limits_of(dtype)
    values = table(function, call.stepped(1), call.stepped(3), limits)
    return integers(look_up(call.floats(0), values, limits), dtype)


def _check_real(call: Call) -> None:
    """Refuse what has no integer, and scales of blocks.

    Raises:
        Unknown: There are such values.
    """
    other: Any = call.attribute("block_size", 0)
    if other or not np.isfinite(call.array(0)).all():
        raise Unknown
