"""Rows with ranges of their own; PyTorch's own ops are the oracle."""

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # defines torch.ops.quantized_decomposed
from hypothesis import given
from hypothesis import strategies as st

from tersor.core.grid import Grid
from tersor.core.rows import fake_quantize_rows

INT8 = Grid(8, signed=True)
ops = torch.ops.quantized_decomposed


def by_pytorch(x):
    scale, zero = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
    whole = ops.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
    return ops.dequantize_per_token(whole, scale, zero, -128, 127, torch.int8, torch.float32), scale


@given(st.integers(0, 10_000), st.sampled_from([1e-3, 1.0, 1e4]), st.floats(-3, 3))
def test_it_is_what_pytorch_computes(seed, size, shift):
    random = torch.Generator().manual_seed(seed)
    x = (torch.randn(2, 5, 33, generator=random) + shift) * size
    found, (wanted, scale) = fake_quantize_rows(x, INT8), by_pytorch(x)
    apart = (found - wanted).abs() / scale
    assert bool((apart < 1.01).all())  # a zero point in the middle of two may be the other one
    assert bool(((found - x).abs() <= 1.001 * scale).all())
    assert (apart > 0.01).float().mean() < 0.3


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_row_does_not_depend_on_others(bits):
    grid = Grid(bits, signed=True)
    x = torch.randn(6, 16) * torch.logspace(-3, 3, 6)[:, None]
    alone = torch.stack([fake_quantize_rows(row, grid) for row in x])
    assert torch.equal(fake_quantize_rows(x, grid), alone)


def test_zeros_stay_and_what_has_no_range_becomes_nan():
    x = torch.tensor([[0.0, 0.0], [5.0, 5.0], [float("nan"), 1.0], [float("inf"), 1.0]])
    found = fake_quantize_rows(x, INT8)
    assert torch.equal(found[:2], x[:2])
    assert bool(found[2:].isnan().all())
    assert found.dtype == torch.float32
    assert fake_quantize_rows(x[:2].half(), INT8).dtype == torch.float16
