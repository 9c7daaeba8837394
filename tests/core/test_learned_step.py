"""Learned steps: against the paper's formula left to autograd, and against integers."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tersor.core.affine import fake_quantize
from tersor.core.grid import Grid
from tersor.core.learned_step import (
    fake_quantize_learned,
    gradient_scale,
    offset_in_bias,
    zero_point,
)

CONFIGURATIONS = {
    1: Grid(4, signed=False, symmetric=True),
    2: Grid(4, signed=True, symmetric=True),
    3: Grid(4, signed=True),
    4: Grid(4, signed=False),
}


def written_out(x, scale, offset, grid, axis=None):
    """x̂ with straight-through rounding and clipping before it; autograd does the rest."""
    shape = [1] * x.ndim
    if axis is not None:
        shape[axis] = -1
    s = scale.view(shape) if axis is not None else scale
    b = 0 if offset is None else (offset.view(shape) if axis is not None else offset)
    u = ((x - b) / s).clamp(grid.qmin, grid.qmax)
    return (u + (u.round() - u).detach()) * s + b


def leaves(grid, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}
    x = 1.5 * torch.randn(3, channels, 40, **draw)
    scale = (1.5 + 3 * torch.rand(channels, **draw)) / 2**grid.bits
    # A free offset of any size; nothing lies on a threshold.
    offset = None if grid.symmetric else torch.randn(channels, **draw)
    upstream = torch.randn(x.shape, **draw)
    return x, scale, offset, upstream


def gradients(function, x, scale, offset, upstream):
    own = [None if v is None else v.clone().requires_grad_() for v in (x, scale, offset)]
    value = function(*own)
    (value * upstream).sum().backward()
    return [value.detach(), *(v.grad for v in own if v is not None)]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_value_and_gradients_are_those_of_the_paper(number, axis, bits):
    grid = CONFIGURATIONS[number]
    grid = Grid(bits, grid.signed, grid.symmetric)
    x, scale, offset, upstream = leaves(grid, 5 if axis else 1, seed=number)
    g = 0.37
    ours = gradients(
        lambda x, s, b: fake_quantize_learned(x, s, b, grid, axis, g, whole=False),
        x, scale, offset, upstream,
    )  # fmt: skip
    theirs = gradients(lambda x, s, b: written_out(x, s, b, grid, axis), x, scale, offset, upstream)
    theirs[2:] = [gradient * g for gradient in theirs[2:]]
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want)
    assert 0 < ours[1].count_nonzero() < x.numel()  # some values are clipped, some are not


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_whole_offsets_compute_what_the_runtime_does(number, axis):
    grid = CONFIGURATIONS[number]
    x, scale, offset, _ = (
        None if v is None else v.float() for v in leaves(grid, 5 if axis else 1, seed=9)
    )
    got = fake_quantize_learned(x, scale, offset, grid, axis)
    zero = torch.zeros_like(scale) if offset is None else zero_point(offset, scale, grid)
    if axis is None:
        scale, zero = scale[0], zero[0]
    assert torch.equal(got, fake_quantize(x, scale, zero, grid, axis))
    # Counted from another integer, signed and unsigned grids hold the same values.
    other = Grid(grid.bits, not grid.signed)
    shifted = zero + other.qmin - grid.qmin
    assert torch.equal(got, fake_quantize(x, scale, shifted, other, axis))


def test_whole_offsets_have_the_gradients_of_the_offset_that_is_used():
    grid = Grid(3)
    x, scale, offset, upstream = leaves(grid, 1, seed=4)
    used = -zero_point(offset, scale, grid) * scale
    ours = gradients(
        lambda x, s, b: fake_quantize_learned(x, s, b, grid), x, scale, offset, upstream
    )
    theirs = gradients(lambda x, s, b: written_out(x, s, b, grid), x, scale, used, upstream)
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want)


def test_torch_has_another_gradient_for_the_step():
    """Why its kernels are not used: values just beyond the last integer count as inside."""
    x, scale, zero = torch.tensor([3.2]), torch.tensor([1.0]), torch.tensor([0.0])
    scale.requires_grad_()
    torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero, 0, 3, 1.0).sum().backward()
    assert scale.grad.item() == pytest.approx(-0.2)  # round(u) − u
    scale.grad = None
    fake_quantize_learned(x, scale, None, Grid(2, symmetric=True)).sum().backward()
    assert scale.grad.item() == 3  # p


@given(
    st.integers(2, 8),
    st.booleans(),
    st.floats(-3, 3),
    st.floats(0.01, 2),
    st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20),
)
def test_values_lie_on_the_grid_and_nearest_to_what_they_were(bits, signed, offset, scale, values):
    grid = Grid(bits, signed)
    x = torch.tensor(values, dtype=torch.float64)
    s, b = torch.tensor([scale], dtype=x.dtype), torch.tensor([offset], dtype=x.dtype)
    got = fake_quantize_learned(x, s, b, grid, whole=False)
    levels = torch.arange(grid.qmin, grid.qmax + 1, dtype=x.dtype) * scale + offset
    distance = (x[:, None] - levels).abs().amin(1)
    torch.testing.assert_close((got - x).abs(), distance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_in_the_precision_of_the_step(dtype):
    x = torch.linspace(-4, 4, 257).to(dtype).requires_grad_()
    scale = torch.tensor([0.0301], requires_grad=True)
    got = fake_quantize_learned(x, scale, None, Grid(8, symmetric=True))
    want = fake_quantize_learned(x.detach().float(), scale.detach(), None, Grid(8, symmetric=True))
    assert got.dtype == dtype
    assert torch.equal(got, want.to(dtype))
    got.float().sum().backward()
    assert x.grad.dtype == dtype
    assert scale.grad.dtype == torch.float32


def test_an_offset_in_the_bias_costs_nothing_and_changes_nothing():
    """Integers all the way: W_int · x_int is computed in int64, the offset is in the bias."""
    generator = torch.Generator().manual_seed(0)
    grid, w_grid = Grid(4), Grid(4, signed=True, symmetric=True)
    # Powers of two: every product and sum is exact in float32, so equality is to the bit.
    scale, offset, w_scale = torch.tensor([0.25]), torch.tensor([-0.125]), torch.tensor([0.5])
    x = 3 * torch.randn(2, 3, 6, 6, generator=generator)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    bias = torch.randint(-8, 8, (4,), generator=generator) / 64
    x_hat = fake_quantize_learned(x, scale, offset, grid, whole=False)
    w_hat = fake_quantize_learned(weight, w_scale, None, w_grid)
    want = F.conv2d(x_hat, w_hat, bias)
    x_int = ((x_hat - offset) / scale).long()
    w_int = (w_hat / w_scale).long()
    assert x_int.min() == 0
    assert x_int.max() == 15
    columns = F.unfold(x_int.double(), 3).long()  # exact: small integers
    accumulated = (w_int.flatten(1) @ columns).view(2, 4, 4, 4)
    folded = bias + offset_in_bias(w_hat, offset)
    got = accumulated * (scale * w_scale) + folded.view(-1, 1, 1)
    assert torch.equal(got, want)


def test_a_whole_offset_is_exact_where_a_layer_pads_with_zeros():
    generator = torch.Generator().manual_seed(1)
    grid, w_grid = Grid(4), Grid(4, signed=True, symmetric=True)
    scale, offset, w_scale = torch.tensor([0.25]), torch.tensor([-0.66]), torch.tensor([0.5])
    x = torch.randn(2, 3, 6, 6, generator=generator)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    zero = zero_point(offset, scale, grid)
    assert zero == 3
    x_hat = fake_quantize_learned(x, scale, offset, grid)
    w_hat = fake_quantize_learned(weight, w_scale, None, w_grid)
    want = F.conv2d(x_hat, w_hat, padding=1)
    x_int = (x_hat / scale + zero).long()
    padded = F.pad(x_int, (1, 1, 1, 1), value=int(zero)) - int(zero)
    w_int = (w_hat / w_scale).long()
    accumulated = (w_int.flatten(1) @ F.unfold(padded.double(), 3).long()).view(2, 4, 6, 6)
    assert torch.equal(accumulated * (scale * w_scale), want)


def test_the_gradient_scale():
    assert gradient_scale(100, Grid(2)) == pytest.approx(1 / 300**0.5)
    assert gradient_scale(0, Grid(2)) == pytest.approx(1 / 3**0.5)
