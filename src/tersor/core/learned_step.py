"""x̂ = clamp(round((x − β) / s), n, p) · s + β, with gradients for the step s and the offset β.

    u = (x − β) / s
    ∂x̂/∂x = 1           where n < u < p, else 0
    ∂x̂/∂s = round(u) − u  where n < u < p; n where u ≤ n; p where u ≥ p         times g
    ∂x̂/∂β = 0           where n < u < p, else 1                              times g
    g = 1 / √(N · p)

LSQ+, arXiv 2004.09576, §3.1 and §3.2; g is that of LSQ, arXiv 1902.08153, §2.2, with N the number
of values that share a step. The four configurations of the paper are the four kinds of `Grid`:
n and p are those of an unsigned or signed grid, and β is 0 on a symmetric one.

Differs from the paper in: N counts the values of one sample, so neither the batch size nor its
division among processes changes what is learned. An offset may be restricted to whole steps,
β = −z · s, for runtimes that must represent 0.0 exactly: z is rounded in the forward pass, and the
gradients are the same.

Let y be the gradient of x̂, y° = y where n < u < p and else 0, and z = −β / s. Then the gradient of
s takes two products over all values, and u need not be stored:

    Σ y · ∂x̂/∂s = (Σ y · x̂ − Σ y° · x) / s + z · (Σ y − Σ y°)

torch's own `_fake_quantize_learnable_per_tensor_affine` treats values less than half a step beyond
n or p as inside. That gives another gradient for s, which matters if steps are large; on CPUs it is
also many times slower than the passes below.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.grid import Grid

Steps = Float[Tensor, "channels"]  # one, or one per channel


def fake_quantize_learned(
    x: Float[Tensor, "*shape"],
    scale: Steps,
    offset: Steps | None,
    grid: Grid,
    axis: int | None = None,
    g: float = 1.0,
    whole: bool = True,
) -> Float[Tensor, "*shape"]:
    """Round `x` to the grid, with the gradients above.

    Args:
        x: Real values.
        scale: s, positive: `[1]`, or one per channel of `axis`.
        offset: β, of the same shape; None for 0.
        grid: The integers n … p.
        axis: Channel axis of `x`.
        g: Factor of the gradients of `scale` and `offset`, see `gradient_scale`.
        whole: Whether the offset is restricted to whole steps. The value is then that of
            `tersor.core.affine.fake_quantize` with the zero point of `zero_point`, bit for bit.
    """
    return _LearnedStep.apply(x, scale, offset, grid, axis, g, whole)  # type: ignore[no-any-return]


def gradient_scale(values: int, grid: Grid) -> float:
    """g = 1 / √(N · p).

    Args:
        values: N, the number of values of one sample that share a step.
        grid: Its largest integer is p.
    """
    return (max(values, 1) * grid.qmax) ** -0.5


def zero_point(offset: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """z = round(−β / s), the integer that stands for 0.0, within the grid.

    Args:
        offset: β.
        scale: s.
        grid: The grid.
    """
    return (-offset / scale).round().clamp(grid.qmin, grid.qmax)


def offset_in_bias(
    weight: Float[Tensor, "out in *kernel"], offset: Float[Tensor, "1"]
) -> Float[Tensor, " out"]:
    """β · Σ W: the contribution of an input's offset to each output of a layer without padding.

        Ŵ x̂ = s_w s_x · W_int x_int + β · Σ Ŵ

    LSQ+, §3.1: the second term does not depend on the input, so it becomes part of the bias, and
    the offset costs nothing. If a layer pads with zeros, the padding would stand for β; there the
    offset has to be a whole number of steps.

    Args:
        weight: Ŵ, with output channels first.
        offset: β of the input.
    """
    return offset * weight.flatten(1).sum(1)


class _LearnedStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        offset: Tensor | None,
        grid: Grid,
        axis: int | None,
        g: float,
        whole: bool,
    ) -> Tensor:
        ctx.options = grid, axis, g, whole
        step, zero, shift = _shaped(x, scale, offset, grid, axis, whole)
        q = _less(x, shift).div(step)
        if zero is not None:
            q.add_(zero)
        q.round_().clamp_(grid.qmin, grid.qmax)
        if zero is not None:
            q.sub_(zero)
        q.mul_(step)
        if shift is not None:
            q.add_(shift)
        out = q.to(x.dtype)
        ctx.save_for_backward(x, out, scale, offset)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, out, scale, offset = ctx.saved_tensors
        grid, axis, g, whole = ctx.options
        zero = None
        if offset is not None:
            zero = zero_point(offset, scale, grid) if whole else -offset / scale
        gradient = gradients[0].to(torch.promote_types(x.dtype, scale.dtype))
        inside = _inside(gradient, x, *_ends(scale, zero, grid), axis)
        of_scale = of_offset = None
        if ctx.needs_input_grad[1]:
            of_scale = _inner(gradient, out, axis).sub_(_inner(inside, x, axis)).div_(scale)
            if zero is not None:
                outside = _total(gradient, axis).sub_(_total(inside, axis))
                of_scale.add_(outside * zero)
                of_offset = outside.mul_(g).to(scale.dtype)
            of_scale = of_scale.mul_(g).to(scale.dtype)
        return inside.to(out.dtype), of_scale, of_offset, None, None, None, None


def _ends(scale: Tensor, zero: Tensor | None, grid: Grid) -> tuple[Tensor, Tensor]:
    """The values of x at which u is n and p."""
    low, high = (torch.full_like(scale, end) for end in (grid.qmin, grid.qmax))
    if zero is not None:
        low, high = low - zero, high - zero
    return low * scale, high * scale


def _inside(gradient: Tensor, x: Tensor, low: Tensor, high: Tensor, axis: int | None) -> Tensor:
    """The gradient if x lies between both ends, else 0."""
    if axis is None and x.is_cpu:  # in one pass; elsewhere it would wait for numbers
        x = x.to(gradient.dtype)
        return torch.ops.aten.hardtanh_backward(gradient, x, float(low), float(high))
    low, high = (_along(end, axis, x.ndim) for end in (low, high))
    return torch.where((x > low) & (x < high), gradient, 0)


def _shaped(
    x: Tensor, scale: Tensor, offset: Tensor | None, grid: Grid, axis: int | None, whole: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Shape s, z and β for computing; z if the offset is restricted to whole steps, else β.

    Tensors with at least one dimension promote half-precision values to their own dtype.
    """
    step = _along(scale, axis, x.ndim)
    if offset is None:
        return step, None, None
    if whole:
        return step, _along(zero_point(offset, scale, grid), axis, x.ndim), None
    return step, None, _along(offset, axis, x.ndim)


def _along(parameter: Tensor, axis: int | None, ndim: int) -> Tensor:
    if axis is None:
        return parameter
    shape = [1] * ndim
    shape[axis] = -1
    return parameter.view(shape)


def _less(x: Tensor, shift: Tensor | None) -> Tensor:
    return x if shift is None else x - shift


def _inner(a: Tensor, b: Tensor, axis: int | None) -> Tensor:
    """Sum a · b over all values or over each channel, in the precision of a."""
    b = b.to(a.dtype)
    if axis is None:
        return torch.dot(a.reshape(-1), b.reshape(-1)).reshape(1)
    return _total(a * b, axis)


def _total(a: Tensor, axis: int | None) -> Tensor:
    if axis is None:
        return a.sum().reshape(1)
    return a.movedim(axis, 0).flatten(1).sum(1)
