"""Convolutions and matrix products on integers: from the inputs of a node to its output."""

import numpy as np
import torch
from torch import Tensor

from tersor.core.mlas.requantize import output_scale, requantize
from tersor.core.mlas.saturation import pair_excess, patches
from tersor.core.mlas.sums import convolution_sums, matrix_sums, padded
from tersor.export.proof.exact.call import Call, Unknown, integers, limits_of

_IMAGE = 2  # axes of the images whose patches are known


def qlinear_conv(call: Call) -> np.ndarray:
    """QLinearConv, of ONNX and of onnxruntime, which may have its channels last."""
    channels_last = bool(call.attribute("channels_last", 0))
    x, weight = call.floats(0), call.floats(3)
    x = x.movedim(-1, 1) if channels_last else x
    sums = _convolved(call, x, weight, int(call.zero(2)), call.zero(5))
    if call.has(8):
        sums = sums + _along(call.floats(8).double(), sums)
    scale = _along(output_scale(call.scale(1), call.scale(4), call.scale(6)), sums)
    limits = call.limits(7)
    y = requantize(sums, scale, int(call.zero(7)), limits)
    y = y.movedim(1, -1) if channels_last else y
    return integers(y, call.array(7).dtype)


def conv_integer(call: Call) -> np.ndarray:
    """ConvInteger, whose sums are its output; its weight is the first factor, so none saturates."""
    x, weight = call.floats(0), call.floats(1)
    return _int32(_exact(call, x - call.zero(2), _centred(weight, call.zero(3))))


def qgemm(call: Call) -> np.ndarray:
    """QGemm; its output is real if no step is given for it."""
    a, b = call.floats(0), call.floats(3)
    a = a.T if call.attribute("transA", 0) else a
    b = b.T if call.attribute("transB", 0) else b
    sums = _multiplied(call, a, b, call.zero(2), call.zero(5), (0, 3))
    if call.has(6):
        sums = sums + call.floats(6).double()
    scale = torch.tensor(call.attribute("alpha", 1.0)) * call.scale(1) * call.scale(4)
    if not call.has(7):
        return (sums.float() * scale).numpy()
    y = requantize(sums, scale / call.scale(7), int(call.zero(8)), call.limits(8))
    return integers(y, call.array(8).dtype)


def qlinear_matmul(call: Call) -> np.ndarray:
    """QLinearMatMul."""
    sums = _multiplied(call, call.floats(0), call.floats(3), call.zero(2), call.zero(5), (0, 3))
    scale = output_scale(call.scale(1), call.scale(4), call.scale(6))
    y = requantize(sums, scale, int(call.zero(7)), call.limits(7))
    return integers(y, call.array(7).dtype)


def matmul_integer(call: Call) -> np.ndarray:
    """MatMulInteger, whose sums are its output."""
    a, b = call.floats(0), call.floats(1)
    return _int32(_multiplied(call, a, b, call.zero(2), call.zero(3), (0, 1)))


def matmul_integer_to_float(call: Call) -> np.ndarray:
    """MatMulIntegerToFloat: float32(Σ) · (s_a s_b), and then the bias."""
    a, b = call.floats(0), call.floats(1)
    sums = _multiplied(call, a, b, call.zero(4), call.zero(5), (0, 1))
    y = sums.float() * (call.scale(2) * call.scale(3))
    return (y + call.floats(6) if call.has(6) else y).numpy()


def _convolved(call: Call, x: Tensor, weight: Tensor, zero: int, weight_zero: Tensor) -> Tensor:
    """The sums of a convolution in the kernels of this machine."""
    sums = _exact(call, x - zero, _centred(weight, weight_zero))
    padding, stride, dilation, groups = _geometry(call, weight.ndim - 2)
    is_depthwise = weight.shape[1] == 1 and len(weight) == groups > 1
    if is_depthwise or not _adds_pairs(call, 0, 3):
        return sums
    if len(stride) > _IMAGE:
        raise Unknown
    whole = padded(x, padding, float(zero))
    parts = zip(whole.chunk(groups, 1), weight.chunk(groups), strict=True)
    kernel = tuple(weight.shape[2:])
    excess = [
        pair_excess(patches(part, kernel, stride, dilation).flatten(0, 1), _rows(rows))
        for part, rows in parts
    ]
    found = torch.cat(excess, 1).reshape(len(x), -1, len(weight)).mT.reshape(sums.shape)
    return _with_excess(call, sums, found)


def _exact(call: Call, x: Tensor, weight: Tensor) -> Tensor:
    """The sums of a convolution of what has no zero point any more."""
    return convolution_sums(x, weight, *_geometry(call, weight.ndim - 2))


def _geometry(
    call: Call, axes: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    """Padding, stride, dilation, and the number of groups.

    Raises:
        Unknown: The padding follows from the size of the image.
    """
    if call.attribute("auto_pad", b"NOTSET") != b"NOTSET":
        raise Unknown
    padding = tuple(call.attribute("pads", [0] * 2 * axes))
    stride = tuple(call.attribute("strides", [1] * axes))
    dilation = tuple(call.attribute("dilations", [1] * axes))
    return padding, stride, dilation, call.attribute("group", 1)


def _multiplied(
    call: Call, a: Tensor, b: Tensor, a_zero: Tensor, b_zero: Tensor, signed: tuple[int, int]
) -> Tensor:
    """The sums of a matrix product; of `b`, each column may have a zero point."""
    if a_zero.ndim:
        raise Unknown
    sums = matrix_sums(a - a_zero, b - b_zero)
    if not _adds_pairs(call, *signed):
        return sums
    if b.ndim > _IMAGE:
        raise Unknown
    excess = pair_excess(a.reshape(-1, a.shape[-1]), b.T)
    return _with_excess(call, sums, excess.reshape(sums.shape))


def _with_excess(call: Call, sums: Tensor, excess: Tensor) -> Tensor:
    call.saturated = float((excess != 0).float().mean())
    return sums + excess.double()


def _adds_pairs(call: Call, x: int, weight: int) -> bool:
    """Whether the kernel saturates.

    Raises:
        Unknown: Both are signed, for which no kernel without VNNI was looked at.
    """
    kinds = limits_of(call.array(x).dtype)[0], limits_of(call.array(weight).dtype)[0]
    if call.saturates and all(kinds):
        raise Unknown
    return call.saturates and not kinds[0] and bool(kinds[1])


def _rows(weight: Tensor) -> Tensor:
    """A weight in the order of the kernels: one row per output, its channels last."""
    return weight.movedim(1, -1).flatten(1)


def _along(values: Tensor, sums: Tensor) -> Tensor:
    """One value per channel, to broadcast over an image; a single one stays."""
    return values.reshape(-1, *[1] * (sums.ndim - 2)) if values.ndim else values


def _centred(weight: Tensor, zero: Tensor) -> Tensor:
    """A weight less its zero point, or those of its rows."""
    return weight - (zero.reshape(-1, *[1] * (weight.ndim - 1)) if zero.ndim else zero)


def _int32(sums: Tensor) -> np.ndarray:
    return sums.double().numpy().astype(np.int32)
