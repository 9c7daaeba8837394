"""Moments of the output of a weighted layer, in closed form.

For `y_o = b_o + Σ_i Σ_k W_oik x_ik` with channels `i` and kernel positions (taps) `k`:

    E[y_o]   = b_o + Σ_i E[x_i] Σ_k c_k W_oik              exact, by linearity
    Var[y_o] ≈ Σ_i Var[x_i] Σ_k c_k W²_oik                  if all inputs are independent

`c_k` is the coverage of a tap: the share of output positions at which it reads the input and not
zero padding. It is 1 inside a large image, and `1 / stride` for a transposed convolution.

Weights come as `[groups, out, in, *kernel]`, counted per group: one form for dense, grouped,
depthwise, transposed and linear layers. Vectors run over all groups: `[groups · in]` and
`[groups · out]`. The inverse, `mean_from_response`, is what a BatchNorm tells about its input.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def expected_response(
    weight: Float[Tensor, "groups out in *kernel"],
    mean: Float[Tensor, " inputs"],
    coverage: Float[Tensor, "*kernel"],
) -> Float[Tensor, " outputs"]:
    """`E[W x]`: the mean output of a layer without its bias.

    Args:
        weight: The weight, or the error of a weight: the result is then the expected output error.
        mean: `E[x]` per input channel.
        coverage: Share of output positions at which each tap reads the input.
    """
    return _apply(_sum_taps(weight, coverage), mean)


def response_variance(
    weight: Float[Tensor, "groups out in *kernel"],
    var: Float[Tensor, " inputs"],
    coverage: Float[Tensor, "*kernel"],
) -> Float[Tensor, " outputs"]:
    """`Var[W x]` per output channel, as if all inputs were independent.

    Neighbouring pixels and channels are not independent: smoothing kernels have a larger variance.

    Args:
        weight: The weight.
        var: `Var[x]` per input channel.
        coverage: As in `expected_response`.
    """
    return _apply(_sum_taps(weight.square(), coverage), var)


def response_interval(
    weight: Float[Tensor, "groups out in *kernel"],
    low: Float[Tensor, " inputs"],
    high: Float[Tensor, " inputs"],
    coverage: Float[Tensor, "*kernel"],
) -> tuple[Float[Tensor, " outputs"], Float[Tensor, " outputs"]]:
    """The interval that `W x` cannot leave while every `x_i` stays in `[low_i, high_i]`.

    Args:
        weight: The weight.
        low: Smallest input per channel.
        high: Largest input per channel.
        coverage: See `expected_response`; a tap that misses the input reads 0.
    """
    full = torch.ones_like(coverage)
    if bool((coverage < 1).any()):
        low, high = low.clamp(max=0), high.clamp(min=0)
    positive = _sum_taps(weight.clamp(min=0), full)
    negative = _sum_taps(weight.clamp(max=0), full)
    smallest = _apply(positive, low) + _apply(negative, high)
    return smallest, _apply(positive, high) + _apply(negative, low)


def mean_from_response(
    weight: Float[Tensor, "groups out in *kernel"],
    response: Float[Tensor, " outputs"],
    coverage: Float[Tensor, "*kernel"],
    tolerance: float = 1e-3,
) -> Float[Tensor, " inputs"]:
    """Find the input mean that explains a known mean output: least squares, smallest norm.

        E[x] = argmin ‖(Σ_k c_k W_k) E[x] − E[W x]‖²

    Args:
        weight: The weight.
        response: `E[W x]`, the known mean output less the bias.
        coverage: As in `expected_response`.
        tolerance: Directions in which the layer is weaker than this, relative to its strongest
            direction, are left at 0, since the output says nothing about them.
    """
    matrix = _sum_taps(weight, coverage).double()
    target = response.double().unflatten(0, matrix.shape[:2])
    solution = torch.linalg.pinv(matrix, rtol=tolerance) @ target.unsqueeze(-1)
    return solution.flatten().to(response.dtype)


def _sum_taps(
    weight: Float[Tensor, "groups out in *kernel"], coverage: Float[Tensor, "*kernel"]
) -> Float[Tensor, "groups out in"]:
    return (weight * coverage.to(weight)).flatten(3).sum(3) if coverage.ndim else weight * coverage


def _apply(
    matrix: Float[Tensor, "groups out in"], vector: Float[Tensor, " inputs"]
) -> Float[Tensor, " outputs"]:
    grouped = vector.to(matrix).unflatten(0, (matrix.shape[0], matrix.shape[2]))
    return (matrix @ grouped.unsqueeze(-1)).flatten()
