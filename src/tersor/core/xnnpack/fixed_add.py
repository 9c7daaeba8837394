"""c = a + b on integers with a step and a zero point each, with multipliers of 21 bits.

    k  = 20 − ⌊log₂ max(r_a, r_b)⌋,   r_a = s_a / s_c,   m_a = round(r_a · 2^k)
    c  = ⌊((a − z_a) m_a + (b − z_b) m_b + 2^(k−1)) / 2^k⌋ + z_c

Sums are rounded by a shift, so ties go up, and a multiplier is 2^-21 off at most: a sum so close to
the middle of two integers may become the other one.

Follows `qs8-vadd` in XNNPACK, src/qs8-vadd/scalar.c.in and `xnn_init_qs8_add_minmax_scalar_params`
in src/microparams-init.c.
"""

import math

from jaxtyping import Int64
from torch import Tensor

from tersor.core.mlas.integer_add import Stepped
from tersor.core.mlas.requantize import Limits

_BITS = 20  # of a multiplier, below its first


def fixed_add(
    a: Int64[Tensor, "*shape"],
    of_a: Stepped,
    b: Int64[Tensor, "*shape"],
    of_b: Stepped,
    of_c: Stepped,
    limits: Limits,
) -> Int64[Tensor, "*shape"]:
    """Integers of the sum; the arguments are those of `tersor.core.mlas.integer_add.add`.

    The limits are narrower than those of the type if an activation follows.
    """
    ratios = [float(x.scale / of_c.scale) for x in (of_a, of_b)]
    shift = _BITS + 1 - math.frexp(max(ratios))[1]
    by_a, by_b = (round(ratio * 2.0**shift) for ratio in ratios)
    sums = (a - of_a.zero_point) * by_a + (b - of_b.zero_point) * by_b
    return ((sums + (1 << (shift - 1))) >> shift).add_(of_c.zero_point).clamp_(*limits)
