"""Means of integers over an image, or over windows of it.

    whole image    round(clip(float32(Σ (a − z)) · m)) + z_y,   m = s_x / float32(s_y · count)
    windows        round(mean / s_y + z_y),   mean = Σ float32(s_x (a − z)) / count

The sum over a window is a float32 that grows tap by tap, rows first. A window that spans the whole
image is computed as the image.

Follows `MlasQLinearGlobalAveragePool` in onnxruntime/core/mlas/lib/qlgavgpool.cpp and
`QLinearAveragePool` in contrib_ops/cpu/quantization/qlinear_pool.cc.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from tersor.core.mlas.integer_add import Stepped
from tersor.core.mlas.requantize import Limits, requantize
from tersor.core.mlas.sums import padded


def whole_average(
    x: Float32[Tensor, "batch channels *size"], of_x: Stepped, of_y: Stepped, limits: Limits
) -> Float32[Tensor, "batch channels *ones"]:
    """Mean over the whole image.

    Args:
        x: Integers.
        of_x: What they stand for.
        of_y: What the mean stands for.
        limits: Of the mean's type.
    """
    axes = tuple(range(2, x.ndim))
    count = x[0, 0].numel()
    sums = (x.double() - of_x.zero_point).sum(axes, keepdim=True)
    return requantize(sums, of_x.scale / (of_y.scale * count), of_y.zero_point, limits)


def window_average(
    x: Float32[Tensor, "batch channels height width"],
    of_x: Stepped,
    of_y: Stepped,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    counts_padding: bool,
    limits: Limits,
) -> Float32[Tensor, "batch channels rows columns"]:
    """Means over windows.

    Args:
        x: Integers.
        of_x: What they stand for.
        of_y: What the means stand for.
        kernel: Size of a window.
        stride: From one window to the next.
        padding: Before each axis, then behind each.
        counts_padding: Whether padding counts as values of 0.
        limits: Of the type of the means.
    """
    if tuple(kernel) == x.shape[2:] and not any(padding):
        return whole_average(x, of_x, of_y, limits)
    real = of_x.scale * (x - of_x.zero_point)
    total = torch.zeros(())
    for tap in _taps(real, kernel, stride, padding):
        total = total + tap
    ones = torch.ones_like(x[:1, :1])
    inside = sum(_taps(ones, kernel, stride, padding), torch.zeros(()))
    count = torch.tensor(float(kernel[0] * kernel[1])) if counts_padding else inside
    return (total / count / of_y.scale + of_y.zero_point).round_().clamp_(*limits)


def _taps(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> list[Tensor]:
    """For each place in a window, the values there: (batch, channels, rows, columns)."""
    x = padded(x, padding, 0.0)
    windows = x.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    places = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
    return [windows[..., i, j] for i, j in places]
