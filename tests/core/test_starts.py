"""Starting values of learned steps: the step of each channel, from the papers' formulas."""

from math import sqrt

import pytest
import torch

from tersor.core.grid import Grid
from tersor.core.starts import mean_range, mean_step, sigma_range

VALUES = torch.tensor([[1.0, -2.0, 4.0, 5.0], [-3.0, -5.0, -3.0, -5.0]], dtype=torch.float64)
MEANS, SPREADS, SIZES = [2.0, -4.0], [sqrt(7.5), 1.0], [3.0, 4.0]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_three_standard_deviations_on_either_side_fit(bits, axis):
    grid = Grid(bits, signed=True)
    low, high = sigma_range(VALUES.T if axis else VALUES, grid, axis)
    for channel, (mean, spread) in enumerate(zip(MEANS, SPREADS, strict=True)):
        step = max(abs(mean - 3 * spread), abs(mean + 3 * spread)) / 2 ** (bits - 1)
        assert low[channel] == pytest.approx(step * -(2 ** (bits - 1)))
        assert high[channel] == pytest.approx(step * (2 ** (bits - 1) - 1))


@pytest.mark.parametrize(("grid", "largest"), [(Grid(3), 7), (Grid(3, signed=True), 3)])
def test_the_step_is_twice_the_mean_size_over_the_root_of_the_largest_integer(grid, largest):
    low, high = mean_range(VALUES, grid, 0)
    for channel, size in enumerate(SIZES):
        assert high[channel] / largest == pytest.approx(2 * size / sqrt(largest))
        assert low[channel] == pytest.approx(grid.qmin * 2 * size / sqrt(largest))
    assert mean_step(torch.tensor(4.5), grid) == pytest.approx(9 / sqrt(largest))


def test_without_an_axis_there_is_one_step():
    grid = Grid(4, signed=True)
    low, high = mean_range(VALUES, grid)
    assert low.shape == high.shape == ()
    assert high == pytest.approx(7 * 2 * 3.5 / sqrt(7))
    mean, spread = VALUES.mean().item(), VALUES.std(correction=0).item()
    assert sigma_range(VALUES, grid)[0] == pytest.approx(-(abs(mean) + 3 * spread))
