"""Σ sat16(a₀w₀ + a₁w₁): what kernels without VNNI make of the sum over pairs of products.

`vpmaddubsw` multiplies uint8 with int8 and adds two products in an int16 that saturates. Neighbours
meet: columns 2i and 2i + 1 of a row of the weight, whose channels come last (`core.pairs`). The
last of an odd number meets 0. So the sum is the exact one and

    excess = Σ_pairs sat16(s) − s,   s = a₀w₀ + a₁w₁,

where only pairs count whose sum could leave int16 with a ≤ 255: few of them, or none. Zero points
play no part, since the kernels take them off the whole sum.

Follows `MlasGemmU8S8KernelAvx2` in onnxruntime/core/mlas/lib/x86_64/QgemmU8X8KernelAvx2.S.
"""

from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

_LARGEST = 255.0
_INT16 = (-32768.0, 32767.0)
_IMAGE = 2  # axes


def pair_excess(
    rows: Float32[Tensor, "rows columns"], weight: Float32[Tensor, "outputs columns"]
) -> Float32[Tensor, "rows outputs"]:
    """What saturation adds to each sum.

    Args:
        rows: Activations from 0 to 255.
        weight: Integers of int8, in the order of the kernel.
    """
    end = weight.shape[1] // 2 * 2
    first, second = weight[:, 0:end:2], weight[:, 1:end:2]
    a0, a1 = rows[:, 0:end:2], rows[:, 1:end:2]
    most = _LARGEST * (first.clamp(min=0) + second.clamp(min=0))
    least = _LARGEST * (first.clamp(max=0) + second.clamp(max=0))
    may = (least < _INT16[0]) | (most > _INT16[1])
    excess = rows.new_zeros(len(rows), len(weight))
    for pair in may.any(0).nonzero().flatten().tolist():
        outputs = may[:, pair].nonzero().flatten()
        total = a0[:, pair, None] * first[outputs, pair] + a1[:, pair, None] * second[outputs, pair]
        excess[:, outputs] += total.clamp(*_INT16) - total
    return excess


def patches(
    x: Float32[Tensor, "batch channels *size"],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Float32[Tensor, "batch positions columns"]:
    """What a convolution reads at each position, in the order of the kernels: channels last.

    Args:
        x: An image of one or two axes, already padded.
        kernel: Size per axis.
        stride: Step per axis.
        dilation: Distance of taps per axis.
    """
    ones = (1,) * (_IMAGE - len(kernel))
    x = x.reshape(*x.shape[:2], *ones, *x.shape[2:])
    found = F.unfold(x, ones + kernel, ones + dilation, 0, ones + stride)
    batch, channels = x.shape[:2]
    return found.reshape(batch, channels, -1, found.shape[-1]).permute(0, 3, 2, 1).flatten(2)
