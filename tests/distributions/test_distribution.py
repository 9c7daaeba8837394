"""Arithmetic of distributions, against samples."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.distributions.distribution import (
    Distribution,
    add,
    dilute,
    gaussian,
    multiply,
    of_constant,
    subtract,
    uniform,
)

COUNT = 400_000


def two(seed=0):
    """Two Gaussians of three channels, with samples of both."""
    generator = torch.manual_seed(seed)
    mean = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    std = 0.2 + torch.rand(2, 3, dtype=torch.float64, generator=generator)
    samples = mean + std * torch.randn(COUNT, 2, 3, dtype=torch.float64, generator=generator)
    x, y = (gaussian(m, s**2, 1, 6.0) for m, s in zip(mean, std, strict=True))
    return x, y, samples[:, 0], samples[:, 1]


@pytest.mark.parametrize(
    ("combine", "op"), [(add, torch.add), (subtract, torch.sub), (multiply, torch.mul)]
)
def test_independent_values_combine_like_samples(combine, op):
    x, y, a, b = two()
    z, samples = combine(x, y, 6.0), op(a, b)
    error = 5 * samples.std(0) / COUNT**0.5
    assert bool(((z.mean - samples.mean(0)).abs() < error).all())
    torch.testing.assert_close(z.var, samples.var(0), rtol=0.02, atol=0)
    assert bool(((z.low <= samples.amin(0)) & (samples.amax(0) <= z.high)).all())


def test_sum_stays_in_the_interval_of_its_terms():
    bounded = uniform(0.0, 1.0, torch.zeros(2), 1)
    total = add(bounded, bounded, 6.0)
    assert total.low.tolist() == [0.0, 0.0]
    assert total.high.tolist() == [2.0, 2.0]
    assert subtract(bounded, bounded, 6.0).low.tolist() == [-1.0, -1.0]


def test_sum_of_many_is_cut_to_its_standard_deviations():
    x = uniform(-1.0, 1.0, torch.zeros(1), 1)
    total = x
    for _ in range(99):
        total = add(total, x, 6.0)
    assert total.high.item() == pytest.approx(6 * (100 / 3) ** 0.5, rel=1e-5)


def test_wrong_statistics_do_not_empty_the_range():
    interval = (torch.tensor([5.0]), torch.tensor([6.0]))
    x = gaussian(torch.zeros(1), torch.ones(1), 1, 6.0, interval)
    assert (x.low.item(), x.high.item()) == (-6.0, 6.0)


@given(st.floats(0, 1), st.floats(-2, 2))
def test_dilution_is_a_mixture(share, value):
    x = gaussian(torch.tensor([0.5]).double(), torch.tensor([2.0]).double(), 1, 6.0)
    y = dilute(x, torch.tensor([share], dtype=torch.float64), value)
    mean = (1 - share) * 0.5 + share * value
    square = (1 - share) * (2.0 + 0.25) + share * value**2
    assert y.mean.item() == pytest.approx(mean)
    assert y.var.item() == pytest.approx(square - mean**2, abs=1e-9)
    assert y.low.item() <= y.mean.item() + 1e-9
    assert y.mean.item() <= y.high.item() + 1e-9


def test_whole_dilution_leaves_the_constant():
    x = gaussian(torch.ones(1), torch.ones(1), 1, 6.0)
    y = dilute(x, torch.ones(1), 0.0)
    assert [float(v) for v in (y.mean, y.var, y.low, y.high)] == [0.0] * 4


def test_constant_is_seen_along_the_channel_axis():
    table = torch.arange(6.0).view(3, 2, 1)
    x = of_constant(table, torch.Size([5, 3, 2, 4]), 1)
    assert x.mean.tolist() == [0.5, 2.5, 4.5]
    assert x.low.tolist() == [0.0, 2.0, 4.0]
    assert not x.is_constant
    per_channel = of_constant(torch.tensor([1.0, 2.0]), torch.Size([5, 3, 2]), 2)
    assert per_channel.is_constant
    assert per_channel.mean.tolist() == [1.0, 2.0]
    assert of_constant(torch.tensor(3.0), torch.Size([5, 4]), 1).mean.tolist() == [3.0] * 4


def test_channels_are_taken_and_joined_in_order():
    x, y, *_ = two()
    both = Distribution.cat([x, y])
    part = both.take(torch.tensor([4, 0]), axis=2)
    assert part.mean.tolist() == [y.mean[1].item(), x.mean[0].item()]
    assert part.high.tolist() == [y.high[1].item(), x.high[0].item()]
    assert part.axis == 2
