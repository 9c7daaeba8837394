"""∂ round(x) / ∂x = 1: rounding that lets gradients through, and the gradient of the scale.

    x̂ = (clamp(round(x/s) + z, n, p) − z) · s
    ∂x̂/∂x = 1 where nothing is clipped, else 0
    ∂x̂/∂s = (q − z) − x/s where nothing is clipped, else q − z

LSQ, arXiv 1902.08153, eqs. 3 and 5.
"""

from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor

from tersor.core.affine import fake_quantize
from tersor.core.grid import Grid


def fake_quantize_through(
    x: Float[Tensor, "*shape"],
    scale: Float[Tensor, ""],
    zero_point: Real[Tensor, ""],
    grid: Grid,
) -> Float[Tensor, "*shape"]:
    """`tersor.core.affine.fake_quantize` of a tensor with one scale, with gradients.

    Args:
        x: Real values.
        scale: Size of one step; its gradient is computed if it requires one.
        zero_point: The integer that stands for 0.0.
        grid: Allowed integers.
    """
    return _FakeQuantize.apply(x, scale, zero_point, grid)  # type: ignore[no-any-return]


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid) -> Tensor:
        value = fake_quantize(x, scale, zero_point, grid)
        low, high = ((end - zero_point) * scale for end in grid.limits(x.dtype))
        inside = (x - value).abs() <= scale / 2
        inside |= (value > low) & (value < high)
        ctx.save_for_backward(x if scale.requires_grad else None, value, inside, scale)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        x, value, inside, scale = ctx.saved_tensors
        (gradient,) = gradients
        of_scale = None
        if ctx.needs_input_grad[1]:
            of_scale = (gradient * (value - x * inside)).sum() / scale
        return gradient * inside, of_scale, None, None
