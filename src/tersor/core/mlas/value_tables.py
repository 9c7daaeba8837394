"""A function of 8-bit integers is a table of 256 values: q_y[i] = quantize(f(s_x (i − z_x))).

    sigmoid(x) ≈ x p(x²) / q(x²) + 1/2,  |x| ≤ 18    with Eigen's coefficients, each step a fma

Follows `QlinearBuildLookupTable` in onnxruntime/contrib_ops/cpu/quantization/
qlinear_lookup_table.cc and `MlasLogisticKernel` in core/mlas/lib/logistic.cpp, whose AVX2 form is
amd64/LogisticKernelFma3 (x86_64/LogisticKernelFma3.S).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float32
from torch import Tensor

from tersor.core.mlas.integer_add import Stepped
from tersor.core.mlas.requantize import Limits

Function = Callable[[Float32[Tensor, " integers"]], Float32[Tensor, " integers"]]
_MOST = 18.0
_NUMERATOR = (
    4.37031012579801e-11,
    1.15627324459942e-07,
    6.08574864600143e-05,
    8.51377133304701e-03,
    2.48287947061529e-01,
)
_DENOMINATOR = (
    6.10247389755681e-13,
    5.76102136993427e-09,
    6.29106785017040e-06,
    1.70198817374094e-03,
    1.16817656904453e-01,
    9.93151921023180e-01,
)


def table(
    function: Function, of_x: Stepped, of_y: Stepped, limits: Limits
) -> Float32[Tensor, " integers"]:
    """The integer of f for each integer of a type, the smallest first.

    Args:
        function: f.
        of_x: What the integers stand for.
        of_y: What the values stand for.
        limits: Of the type.
    """
    low, high = limits
    integers = torch.arange(low, high + 1, dtype=torch.float32)
    real = function(of_x.scale * (integers - of_x.zero_point))
    steps = (real / of_y.scale).clamp_(low - of_y.zero_point, high - of_y.zero_point)
    return steps.round_().add_(of_y.zero_point)


def look_up(
    x: Float32[Tensor, "*shape"], values: Float32[Tensor, " integers"], limits: Limits
) -> Float32[Tensor, "*shape"]:
    """Read a table.

    Args:
        x: Integers.
        values: The table.
        limits: Of the type of the integers.
    """
    return values[(x - limits[0]).long()]


def logistic(x: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The sigmoid as MLAS computes it."""
    x = x.clamp(-_MOST, _MOST)
    square = x * x
    ratio = _polynomial(square, _NUMERATOR) * x / _polynomial(square, _DENOMINATOR)
    return (ratio + 0.5).clamp_(0.0, 1.0)


def leaky_relu(slope: float) -> Function:
    """x for positive x, and `slope` times x for others."""
    return lambda x: torch.where(x >= 0, x, x * torch.tensor(slope, dtype=torch.float32))


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Horner's rule; each step rounds once."""
    first, *others = (torch.tensor(c, dtype=torch.float32).double() for c in coefficients)
    total = first.expand_as(x)
    for coefficient in others:
        total = (total * x.double() + coefficient).float().double()
    return total.float()
