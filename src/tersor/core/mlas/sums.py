"""Σ (a_j − z)·w_j in int32: the sums of convolutions and matrix products, without any rounding.

Floats hold them: float32 whole numbers up to 2^24, float64 up to 2^53. So whatever the order in
which they are added, every partial sum is exact if Σ |a_j − z|·|w_j| is within the type.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

_EXACT = 1 << 24  # float32 holds every whole number up to it


def convolution_sums(
    x: Float[Tensor, "batch channels *size"],
    weight: Float[Tensor, "outputs inputs *kernel"],
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Float[Tensor, "batch outputs *out"]:
    """Sums of a convolution.

    Args:
        x: Whole numbers, less their zero point, so that padding is 0.
        weight: Likewise.
        padding: As of `padded`.
        stride: One number per axis.
        dilation: One number per axis.
        groups: Into how many groups the channels are divided.
    """
    dtype = _type(x, weight)
    x, axes = padded(x.to(dtype), padding, 0.0), len(stride)
    none = [0] * axes
    return torch.convolution(
        x, weight.to(dtype), None, list(stride), none, list(dilation), False, none, groups
    )


def matrix_sums(
    a: Float[Tensor, "*rows inner"], b: Float[Tensor, "*more inner columns"]
) -> Float[Tensor, "..."]:
    """Sums of a matrix product.

    Args:
        a: Whole numbers, less their zero point.
        b: Likewise.
    """
    dtype = torch.float32 if a.shape[-1] * _most(a) * _most(b) < _EXACT else torch.float64
    return a.to(dtype) @ b.to(dtype)


def padded(
    x: Shaped[Tensor, "batch channels *size"], padding: Sequence[int], value: float
) -> Shaped[Tensor, "batch channels *padded"]:
    """Pad an image.

    Args:
        x: The image.
        padding: Before each axis, then behind each, as in ONNX.
        value: What is added.
    """
    axes = len(padding) // 2
    pairs = [(padding[axis], padding[axes + axis]) for axis in reversed(range(axes))]
    return F.pad(x, [size for pair in pairs for size in pair], value=value) if any(padding) else x


def _type(x: Tensor, weight: Tensor) -> torch.dtype:
    largest = float(weight.abs().flatten(1).sum(1).max()) if weight.numel() else 0.0
    return torch.float32 if _most(x) * largest < _EXACT else torch.float64


def _most(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0
