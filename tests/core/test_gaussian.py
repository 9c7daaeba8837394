import itertools
import math

import hypothesis.extra.numpy as hnp
import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from tersor.core.gaussian import clipped_gaussian, interval, pushforward
from tersor.errors import InvalidInputError

INF = math.inf


def exact_clipped(mean, std, low, high):
    """The formulas of the paper, with 700 digits against cancellation."""
    with mpmath.workdps(700):
        m, s, a, b = (mpmath.mpf(v) for v in (mean, std, low, high))
        lower, upper = (a - m) / s, (b - m) / s
        density = [mpmath.npdf(v) for v in (lower, upper)]
        below, above = mpmath.ncdf(lower), mpmath.ncdf(-upper)
        inside = 1 - below - above
        a, b = (v if mpmath.isfinite(v) else mpmath.mpf(0) for v in (a, b))
        first = s * (density[0] - density[1]) + m * inside + a * below + b * above
        second = (m**2 + s**2) * inside + a**2 * below + b**2 * above
        second += s * ((a + m) * density[0] - (b + m) * density[1])
        return float(first), float(second - first**2)


def channels(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


BOUNDS = [(0.0, INF), (0.0, 6.0), (-1.0, 1.0), (-INF, 2.0), (-INF, INF), (0.1, 0.2), (3.0, 3.0)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clipped_moments_are_exact(low, high):
    cases = [(m, s) for m in (-30.0, -3.0, -0.1, 0.0, 2.0, 8.0, 40.0) for s in (0.01, 1.0, 9.0)]
    mean, std = channels(*cases).T
    got = torch.stack(clipped_gaussian(mean, std, low, high), dim=1)
    expected = channels(*(exact_clipped(m, s, low, high) for m, s in cases))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("deviations", [3.0, 8.0, 20.0, 30.0, 36.0])
@pytest.mark.parametrize("std", [0.5, 20.0])
def test_far_tails_keep_their_relative_accuracy(deviations, std):
    mean = -deviations * std
    got = clipped_gaussian(channels(mean), channels(std), 0.0, 6.0)
    expected = exact_clipped(mean, std, 0.0, 6.0)
    assert torch.cat(got).tolist() == pytest.approx(expected, rel=1e-9, abs=0)
    mirrored = clipped_gaussian(channels(-mean), channels(std), -6.0, 0.0)
    assert torch.cat(mirrored).tolist() == pytest.approx(
        (-expected[0], expected[1]), rel=1e-9, abs=0
    )


@pytest.mark.parametrize("deviations", [-1e6, -80.0, -50.0, 50.0, 80.0, 1e6])
def test_float32_beyond_the_tails(deviations):
    std = channels(0.1, 3.0, 1e-3, dtype=torch.float32)
    mean = deviations * std
    result, variance = clipped_gaussian(mean, std)
    assert result.dtype == variance.dtype == torch.float32
    if deviations < 0:
        assert result.tolist() == variance.tolist() == [0.0, 0.0, 0.0]
    else:
        assert torch.equal(result, mean)
        torch.testing.assert_close(variance, std**2, rtol=1e-6, atol=0)


def test_a_constant_is_clipped_exactly():
    mean, std = channels(-2.0, 0.0, 0.1, 6.0, 9.0), torch.zeros(5, dtype=torch.float64)
    result, variance = clipped_gaussian(mean, std, 0.0, 6.0)
    assert torch.equal(result, mean.clamp(0, 6))
    assert not variance.any()


def test_bounds_may_differ_per_channel():
    mean, std, high = channels(1.0, 1.0), channels(2.0, 2.0), channels(0.5, 4.0)
    result, variance = clipped_gaussian(mean, std, 0.0, high)
    expected = [exact_clipped(1.0, 2.0, 0.0, bound) for bound in (0.5, 4.0)]
    assert torch.stack((result, variance), 1).tolist() == [
        pytest.approx(e, rel=1e-12) for e in expected
    ]


@given(
    hnp.arrays(np.float32, 3, elements=st.floats(-1e6, 1e6, width=32)),
    hnp.arrays(np.float32, 3, elements=st.floats(0, 1e6, width=32)),
    st.floats(-1e3, 1e3),
    st.one_of(st.just(INF), st.floats(0, 1e3)),
)
def test_clipped_moments_obey_their_bounds(mean, std, low, width):
    mean, std, high = torch.from_numpy(mean), torch.from_numpy(std), low + width
    result, variance = clipped_gaussian(mean.double(), std.double(), low, high)
    assert bool(((result >= low) & (result <= high)).all())
    assert bool(((variance >= 0) & (variance <= std.double() ** 2 * (1 + 1e-9))).all())
    assert bool((variance <= (result - low) * (high - result) + 1e-6).all()) or width == INF


@pytest.mark.parametrize("function", [clipped_gaussian, lambda m, s: pushforward(F.silu, m, s)])
@pytest.mark.parametrize("std", [-1.0, math.nan])
def test_a_negative_std_is_refused(function, std):
    with pytest.raises(InvalidInputError, match="negative or NaN"):
        function(channels(0.0), channels(std))


def test_swapped_bounds_are_refused():
    with pytest.raises(InvalidInputError, match="swap"):
        clipped_gaussian(channels(0.0), channels(1.0), 6.0, 0.0)


GAUSSIANS = [(m, s) for m in (-6.0, -2.5, -0.3, 0.0, 1.0, 3.0, 9.0) for s in (0.05, 0.7, 2.0, 11.0)]
FUNCTIONS = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu-tanh": lambda z: F.gelu(z, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "mish": F.mish,
    "elu": F.elu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "relu6": F.relu6,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_pushforward_is_scipys_integral(name):
    fn = FUNCTIONS[name]
    mean, std = channels(*GAUSSIANS).T
    results = torch.stack(pushforward(fn, mean, std), dim=1)
    for (m, s), got in zip(GAUSSIANS, results.tolist(), strict=True):

        def moment(power, shift, m=m, s=s):
            def integrand(z):
                value = fn(torch.tensor(z, dtype=torch.float64)).item() - shift
                return value**power * stats.norm.pdf(z, m, s)

            edges = sorted(
                {m - 11 * s, *(m + k * s for k in (-4, -1, 1, 4)), m + 11 * s, -3, 0, 3, 6}
            )
            edges = [e for e in edges if m - 11 * s <= e <= m + 11 * s]
            parts = itertools.pairwise(edges)
            return sum(integrate.quad(integrand, *p, epsabs=1e-14, epsrel=1e-10)[0] for p in parts)

        average = moment(1, 0.0)
        # Below these absolute errors, float64 no longer resolves the functions themselves.
        assert got[0] == pytest.approx(average, rel=1e-8, abs=1e-15)
        assert got[1] == pytest.approx(moment(2, average), rel=1e-8, abs=1e-22)


@pytest.mark.parametrize(("low", "high"), [(0.0, INF), (0.0, 6.0), (-1.0, 1.0)])
def test_pushforward_through_a_clip_is_the_closed_form(low, high):
    mean, std = channels(*GAUSSIANS, (-30.0, 100.0), (5.0, 1000.0)).T
    got = pushforward(lambda z: z.clamp(low, high), mean, std)
    expected = clipped_gaussian(mean, std, low, high)
    size = (expected[0] ** 2 + expected[1]).sqrt()
    assert bool(((got[0] - expected[0]).abs() <= 1e-9 * size + 1e-15).all())
    assert bool(((got[1] - expected[1]).abs() <= 1e-9 * size**2 + 1e-15).all())


def test_pushforward_takes_parameters_and_kinks_per_channel():
    mean, std = channels(*GAUSSIANS).T
    slope = torch.linspace(-0.5, 0.9, len(mean), dtype=torch.float64)
    average, variance = pushforward(lambda z: torch.where(z > 0, z, slope * z), mean, std)
    # max(z, 0) + slope min(z, 0): the two parts have product 0, so covariance -E[+]E[-].
    up, up_variance = clipped_gaussian(mean, std, 0.0, INF)
    down, down_variance = clipped_gaussian(mean, std, -INF, 0.0)
    expected = up_variance + slope**2 * down_variance - 2 * slope * up * down
    torch.testing.assert_close(average, up + slope * down, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(variance, expected, rtol=1e-9, atol=1e-12)
    bend = torch.linspace(0.3, 5.1, len(mean), dtype=torch.float64)
    got = pushforward(lambda z: z.clamp(min=bend), mean, std, kinks=(bend,))
    torch.testing.assert_close(got, clipped_gaussian(mean, std, bend), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_pushforward_agrees_with_monte_carlo(name):
    count = 400_000
    mean, std = channels(-1.0, 0.5, 3.0), channels(1.0, 2.0, 4.0)
    noise = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = FUNCTIONS[name](mean + std * noise)
    average, variance = pushforward(FUNCTIONS[name], mean, std)
    assert bool(((y.mean(0) - average).abs() <= 5 * (variance / count).sqrt()).all())
    spread = ((y - y.mean(0)) ** 2).var(0).sqrt() / math.sqrt(count)
    assert bool(((y.var(0) - variance).abs() <= 5 * spread).all())


def test_pushforward_of_constants_wide_gaussians_and_float32():
    mean, std = channels(0.3, 2.0), channels(0.0, 0.0)
    average, variance = pushforward(F.silu, mean, std)
    assert torch.equal(average, F.silu(mean))
    assert not variance.any()
    average, variance = pushforward(
        torch.sigmoid, channels(0.0, dtype=torch.float32), channels(1e4, dtype=torch.float32)
    )
    assert average.dtype == variance.dtype == torch.float32
    assert average.item() == pytest.approx(0.5, abs=1e-7)
    assert variance.item() == pytest.approx(0.25, rel=1e-3)


SILU_LOW, GELU_LOW = -0.27846454276107374, -0.16997120747990369


@pytest.mark.parametrize(
    ("fn", "low", "high", "smallest", "largest"),
    [
        (F.silu, -8.0, 8.0, SILU_LOW, None),
        (F.silu, -1000.0, 3000.0, SILU_LOW, 3000.0),
        (F.silu, -1.0, 0.5, None, None),
        (F.silu, -30.0, -2.0, None, None),
        (F.gelu, -40.0, 1.0, GELU_LOW, None),
        (F.hardswish, -100.0, 100.0, -0.375, 100.0),
        (F.relu, -5.0, -1.0, 0.0, 0.0),
        (torch.square, -3.0, 2.0, 0.0, 9.0),
        (torch.cos, -1.0, 4.0, -1.0, 1.0),
        (torch.tanh, 2.0, 2.0, None, None),
    ],
)
def test_interval_finds_the_extremes(fn, low, high, smallest, largest):
    dense = fn(torch.linspace(low, high, 200_001, dtype=torch.float64))
    ends = channels(low), channels(high)
    got = [end.item() for end in interval(fn, *ends)]
    assert got[0] <= dense.min().item() + 1e-9
    assert got[1] >= dense.max().item() - 1e-9
    expected = dense.min().item() if smallest is None else smallest
    assert got[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    expected = dense.max().item() if largest is None else largest
    assert got[1] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_interval_is_per_channel_and_keeps_the_dtype():
    low, high = channels(-8.0, 0.0, dtype=torch.float32), channels(0.0, 2.0, dtype=torch.float32)
    smallest, largest = interval(F.silu, low, high)
    assert smallest.dtype == torch.float32
    assert smallest.tolist() == pytest.approx([SILU_LOW, 0.0], abs=1e-7)
    assert largest.tolist() == pytest.approx([0.0, F.silu(channels(2.0)).item()], abs=1e-7)


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (-INF, 0.0), (0.0, math.nan)])
def test_what_is_no_interval_is_refused(low, high):
    with pytest.raises(InvalidInputError, match="not a finite interval"):
        interval(F.silu, channels(low), channels(high))
