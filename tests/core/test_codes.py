"""Integers with their scale hold what rounding gives, to the bit."""

import pytest
import torch

from tersor.core.affine import fake_quantize
from tersor.core.codes import codes
from tersor.core.grid import Grid


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "size"), [(2, 1), (4, 1), (8, 1), (12, 2), (16, 2)])
@pytest.mark.parametrize("axis", [None, 1])
def test_values_are_those_of_rounding(signed, bits, size, axis):
    grid = Grid(bits, signed)
    x = torch.randn(5, 3, 7, generator=torch.manual_seed(bits))
    scale = torch.tensor(0.013) if axis is None else torch.tensor([0.5, 0.01, 3e-5])
    zero = torch.tensor(1.0) if axis is None else torch.tensor([0.0, 1.0, -1.0 if signed else 2.0])
    found = codes(x, scale, zero, grid, axis)
    assert found is not None
    assert found.integers.element_size() == size
    assert torch.equal(found.value(), fake_quantize(x, scale, zero, grid, axis))


def test_wide_grids_and_nan_have_no_codes():
    scale, zero = torch.tensor(0.1), torch.tensor(0.0)
    assert codes(torch.ones(3), scale, zero, Grid(32, signed=True)) is None
    assert codes(torch.tensor([1.0, torch.nan]), scale, zero, Grid(8)) is None
