"""c = a + b and c = a · b on integers with a step and a zero point each.

    add         round(fma(a, r_a, fma(b, r_b, f))),  r = s / s_c,  f = z_c − fma(r_a, z_a, r_b z_b)
    multiply    round(float32((a − z_a)(b − z_b)) · (s_a s_b / s_c) + z_c)

The zero point is added before the rounding, so which sums are ties depends on it. `fma` rounds
once. If one of the two is a single number for a row of the other, its product joins f first.

Follows `MlasQLinearAddKernelAvx2Helper` in onnxruntime/core/mlas/lib/intrinsics/avx2/qladd_avx2.cpp
and `MlasQLinearMulKernel` in core/mlas/lib/qlmul.cpp.
"""

from dataclasses import dataclass

from jaxtyping import Float32
from torch import Tensor

from tersor.core.mlas.requantize import Limits


@dataclass(frozen=True)
class Stepped:
    """Integers, or none, with what they stand for.

    Attributes:
        scale: The step; a float32.
        zero_point: The integer that stands for 0.
    """

    scale: Float32[Tensor, ""]
    zero_point: int


def add(
    a: Float32[Tensor, "..."],
    of_a: Stepped,
    b: Float32[Tensor, "..."],
    of_b: Stepped,
    of_c: Stepped,
    limits: Limits,
) -> Float32[Tensor, "..."]:
    """Integers of the sum.

    Args:
        a: Integers; broadcast with `b`.
        of_a: What they stand for.
        b: Integers.
        of_b: What they stand for.
        of_c: What the sum stands for.
        limits: Of the sum's type.
    """
    ratio_a, ratio_b = (x.scale / of_c.scale for x in (of_a, of_b))
    zeros = ratio_b * of_b.zero_point
    fixed = of_c.zero_point - _fma(ratio_a.new_tensor(of_a.zero_point), ratio_a, zeros)
    if is_one_per_row(a, b):
        real = _fma(b, ratio_b, _fma(a, ratio_a, fixed))
    else:
        real = _fma(a, ratio_a, _fma(b, ratio_b, fixed))
    return real.round_().clamp_(*limits)


def multiply(
    a: Float32[Tensor, "..."],
    of_a: Stepped,
    b: Float32[Tensor, "..."],
    of_b: Stepped,
    of_c: Stepped,
    limits: Limits,
) -> Float32[Tensor, "..."]:
    """Integers of the product; the arguments are those of `add`."""
    ratio = of_a.scale * of_b.scale / of_c.scale
    product = (a - of_a.zero_point) * (b - of_b.zero_point)
    return (product * ratio + of_c.zero_point).round_().clamp_(*limits)


def is_one_per_row(a: Float32[Tensor, "..."], b: Float32[Tensor, "..."]) -> bool:
    """Whether a row of `b` meets a single number of `a`."""
    columns = [x.shape[-1] if x.ndim else 1 for x in (a, b)]
    return columns[0] == 1 and columns[1] > 1


def _fma(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """x·y + z, rounded once; x is an integer of 9 bits, so float64 holds the product."""
    return (x.double() * y.double() + z.double()).float()
