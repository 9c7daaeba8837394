"""Moments of a weighted layer, against torch's own convolutions run on maps of moments."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tersor.core.response import (
    expected_response,
    mean_from_response,
    response_interval,
    response_variance,
)


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def inside(weight):
    """The coverage of a layer without padding."""
    return weight.new_ones(weight.shape[3:])


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 99)
)
def test_moments_equal_a_convolution_of_constant_maps(groups, out, inputs, dims, seed):
    weight = draw(groups, out, inputs, *[2] * dims, seed=seed)
    mean = draw(groups * inputs, seed=seed + 1)
    kernel = weight.reshape(groups * out, inputs, *[2] * dims, *[1] * (2 - dims))
    maps = mean.reshape(1, -1, 1, 1).expand(-1, -1, 4, 4)
    want = F.conv2d(maps, kernel, groups=groups)[0, :, 0, 0]
    torch.testing.assert_close(expected_response(weight, mean, inside(weight)), want)
    squared = F.conv2d(maps.square(), kernel.square(), groups=groups)[0, :, 0, 0]
    torch.testing.assert_close(response_variance(weight, mean.square(), inside(weight)), squared)


def test_variance_is_that_of_independent_inputs():
    weight, std = draw(2, 3, 2, 3, seed=1), torch.tensor([0.5, 2.0, 1.0, 3.0]).double()
    x = draw(200_000, 4, 3, seed=2) * std[:, None]
    y = F.conv1d(x, weight.reshape(6, 2, 3), groups=2)
    want = response_variance(weight, std.square(), inside(weight))
    torch.testing.assert_close(y.var((0, 2)), want, rtol=0.02, atol=0)


@given(st.integers(0, 999))
def test_interval_holds_every_output_and_is_reached(seed):
    weight = draw(2, 2, 3, 2, seed=seed)
    ends = draw(2, 6, seed=seed + 1).sort(dim=0).values
    low, high = response_interval(weight, ends[0], ends[1], inside(weight))
    kernel = weight.reshape(4, 3, 2)
    share = torch.rand(64, 6, 2, dtype=torch.float64, generator=torch.manual_seed(seed))
    x = ends[0][:, None] + share * (ends[1] - ends[0])[:, None]
    y = F.conv1d(x, kernel, groups=2)[..., 0]
    assert bool(((low <= y + 1e-12) & (y - 1e-12 <= high)).all())
    per_group = ends.unflatten(1, (2, 1, 3, 1))
    best = torch.where(weight > 0, per_group[1], per_group[0])  # each output at its own best input
    torch.testing.assert_close((weight * best).sum((2, 3)).flatten(), high)


def test_interval_at_a_border_counts_the_zeros_of_the_padding():
    weight = torch.ones(1, 1, 1, 3)
    ends = torch.tensor([2.0]), torch.tensor([3.0])
    low, high = response_interval(weight, *ends, torch.tensor([0.75, 1.0, 0.75]))
    assert (low.item(), high.item()) == (0.0, 9.0)
    low, high = response_interval(weight, *ends, torch.ones(3))
    assert (low.item(), high.item()) == (6.0, 9.0)


@pytest.mark.parametrize("groups", [1, 2])
def test_input_mean_is_recovered_where_the_layer_determines_it(groups):
    weight, mean = draw(groups, 5, 3, 3, 3), draw(groups * 3, seed=1)
    coverage = torch.rand(3, 3, dtype=torch.float64, generator=torch.manual_seed(2))
    response = expected_response(weight, mean, coverage)
    torch.testing.assert_close(mean_from_response(weight, response, coverage), mean)


def test_input_mean_has_the_smallest_norm_where_the_layer_does_not_determine_it():
    weight, mean = draw(1, 2, 6), draw(6, seed=1)
    response = expected_response(weight, mean, inside(weight))
    found = mean_from_response(weight, response, inside(weight))
    torch.testing.assert_close(expected_response(weight, found, inside(weight)), response)
    want = torch.linalg.lstsq(weight[0], response, driver="gelsd").solution
    torch.testing.assert_close(found, want)
    assert found.norm() < mean.norm()
