"""Rounding that lets gradients through: against the same formula, left to autograd."""

import pytest
import torch

from tersor.core.affine import fake_quantize
from tersor.core.grid import Grid
from tersor.core.straight_through import fake_quantize_through

GRIDS = {"uint8": Grid(8), "uint2": Grid(2), "int4": Grid(4, signed=True)}
ZERO_POINTS = {"uint8": 100, "uint2": 1, "int4": 0}


def written_out(x, scale, zero_point, grid):
    """Clip before rounding, whose gradient is passed by: eqs. 3 and 5 by autograd."""
    steps = (x / scale).clamp(grid.qmin - zero_point, grid.qmax - zero_point)
    return (steps + (steps.round() - steps).detach()) * scale


@pytest.mark.parametrize("name", GRIDS)
def test_value_and_gradients(name):
    grid, zero_point = GRIDS[name], torch.tensor(ZERO_POINTS[name])
    x = torch.randn(4, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # Between the last integer and half a step beyond it, the two clip at different places.
    scale = torch.tensor(0.03 if grid.bits == 8 else 0.4, dtype=torch.float64)
    low, high = ((end - zero_point) * scale for end in (grid.qmin, grid.qmax))
    x = x[((x >= low) & (x <= high)) | (x < low - scale / 2) | (x > high + scale / 2)]
    weights = torch.arange(len(x), dtype=torch.float64)
    found = []
    for function in (fake_quantize_through, written_out):
        leaf, factor = x.clone().requires_grad_(), scale.clone().requires_grad_()
        value = function(leaf, factor, zero_point, grid)
        (value * weights).sum().backward()
        found.append((value.detach(), leaf.grad, factor.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(found[0][0], fake_quantize(x, scale, zero_point, grid))
    assert 0 < found[0][1].count_nonzero() < len(x)


def test_a_value_that_rounds_to_the_last_integer_is_not_clipped():
    x = torch.tensor([3.4, 3.6]).requires_grad_()
    fake_quantize_through(x, torch.tensor(1.0), torch.tensor(0), Grid(2)).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0]
