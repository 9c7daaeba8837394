"""q = round(clip(float32(Σ) · m, qmin − z, qmax − z)) + z: how integer sums become integers again.

    m = float32(float32(s_x · s_w) / s_y)    the products are rounded in this order

Rounding is to nearest, ties to even. The clip comes before the rounding and the zero point after
it, so that a tie is one of the product alone.

Follows `MlasRequantizeOutput` in onnxruntime/core/mlas/lib/quantize.cpp, and `ComputeOutputScale`
in core/providers/cpu/quantization/qlinearconv.cc and contrib_ops/cpu/quantization/quant_gemm.cc.
"""

from jaxtyping import Float, Float32
from torch import Tensor

#: The smallest and the largest integer of a type.
Limits = tuple[int, int]
Scale = Float32[Tensor, ""] | Float32[Tensor, "channels"]


def output_scale(x: Scale, weight: Scale, y: Scale) -> Scale:
    """m: what a sum of products is worth in steps of the output.

    Args:
        x: The step of the input.
        weight: That of the weight.
        y: That of the output.
    """
    return x * weight / y


def requantize(
    sums: Float[Tensor, "*shape"], scale: Float32[Tensor, "..."], zero_point: int, limits: Limits
) -> Float32[Tensor, "*shape"]:
    """Integers of the output.

    Args:
        sums: Whole numbers: products that were added up, and the bias.
        scale: m, in a shape that broadcasts.
        zero_point: The integer that stands for 0.
        limits: Of the output's type.
    """
    low, high = (limit - zero_point for limit in limits)
    return sums.float().mul_(scale).clamp_(low, high).round_().add_(zero_point)
