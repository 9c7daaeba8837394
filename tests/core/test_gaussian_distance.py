"""The distance of two Gaussians, against its integral."""

import math

import pytest
import torch
from torch.distributions import Normal

from tersor.core.gaussian_distance import gaussian_distance

CASES = [(0.0, 1.0, 0.0, 1.0), (0.0, 1.0, 2.0, 1.0), (1.0, 0.5, -1.0, 4.0), (0.0, 1e-4, 0.0, 9.0)]


@pytest.mark.parametrize(("mean", "var", "other_mean", "other_var"), CASES)
def test_it_is_minus_the_logarithm_of_the_overlap(mean, var, other_mean, other_var):
    x = torch.linspace(-40, 40, 800_001, dtype=torch.float64)
    numbers = [torch.tensor([v], dtype=torch.float64) for v in (mean, var, other_mean, other_var)]
    first, second = Normal(numbers[0], numbers[1].sqrt()), Normal(numbers[2], numbers[3].sqrt())
    overlap = torch.trapezoid((0.5 * (first.log_prob(x) + second.log_prob(x))).exp(), x)
    assert float(gaussian_distance(*numbers)) == pytest.approx(-float(overlap.log()), abs=1e-9)


def test_enormous_variances_do_not_overflow():
    large, small = torch.tensor([1e30]), torch.tensor([1e-30])
    found = gaussian_distance(torch.zeros(1), large, torch.zeros(1), small)
    assert found.isfinite().all()
    assert float(found) == pytest.approx(0.5 * math.log(1e30 / 2), rel=1e-4)
