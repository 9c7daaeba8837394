"""Ranges of counted values: against the same choice on the values themselves."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tersor.core import histogram, ranges
from tersor.core.affine import dequantize, quantize
from tersor.core.grid import Grid
from tersor.core.histogram import Counter, Histogram
from tersor.core.ranges import scale_zero_point
from tersor.errors import InvalidInputError

UINT4, INT4 = Grid(4), Grid(4, signed=True, symmetric=True)


def heavy_tailed(seed, count=4000):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, generator=generator) ** 3
    return x.relu() if seed % 2 else x


def counted(x, bins=2048):
    counter = Counter(bins)
    for part in x.split(999):
        counter(part)
    return counter.histogram(x.min(), x.max())


def squared_error(x, ends, grid):
    scale, zero_point = scale_zero_point(*ends, grid)
    rounded = dequantize(quantize(x, scale, zero_point, grid), scale, zero_point)
    return float((rounded - x).square().sum())


@given(st.integers(0, 1000))
def test_every_value_is_counted_once_within_half_a_bin(seed):
    x = heavy_tailed(seed, 500)
    found = counted(x, bins=64)
    assert float(found.counts.sum()) == 500
    assert bool((found.values.diff() >= 0).all())
    sums = (found.counts * found.values).sum(), x.sum()
    assert abs(float(sums[0] - sums[1])) <= 500 * float(x.max() - x.min()) / 64
    assert float(found.counts[found.values == 0].sum()) >= int((x == 0).sum())
    assert (float(found.values[0]), float(found.values[-1])) == (float(x.min()), float(x.max()))


@example(548)  # a value next to the end of a bin
@given(st.integers(0, 1000))
def test_the_order_of_values_does_not_matter(seed):
    """Bins that get wider on the way hold what bins hold that were wide from the start."""
    ascending = heavy_tailed(seed, 500).abs().sort().values
    first, second = Counter(64), Counter(64)
    for part in ascending.split(50):
        first(part)
    for part in ascending.flip(0).split(50):
        second(part)
    ends = ascending[0], ascending[-1]
    one, other = first.histogram(*ends), second.histogram(*ends)
    assert torch.equal(one.values, other.values)
    assert torch.equal(one.counts, other.counts)


@pytest.mark.parametrize("p", [90.0, 99.0, 100.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_percentiles_are_those_of_the_values_up_to_a_bin(seed, p):
    x = heavy_tailed(seed)
    bin_width = float(x.max() - x.min()) / 2048
    for got, want in zip(histogram.percentile(counted(x), p), ranges.percentile(x, p), strict=True):
        assert abs(float(got - want)) <= 2 * bin_width


@given(st.integers(0, 200))
def test_distinct_values_have_exact_percentiles(seed):
    values = torch.arange(-8.0, 9.0)
    counts = torch.randint(1, 9, (17,), generator=torch.Generator().manual_seed(seed)).float()
    every = values.repeat_interleave(counts.long())
    for p in (60.0, 87.5, 100.0):
        assert histogram.percentile(Histogram(values, counts), p) == ranges.percentile(every, p)


@pytest.mark.parametrize("grid", [UINT4, INT4, Grid(8)])
@pytest.mark.parametrize("seed", range(4))
def test_the_squared_error_is_as_small_as_that_of_the_search_on_the_values(seed, grid):
    x = heavy_tailed(seed)
    best = squared_error(x, ranges.mse(x, grid), grid)
    assert squared_error(x, histogram.mse(counted(x), grid), grid) <= 1.03 * best
    assert grid.bits == 8 or best < squared_error(x, ranges.minmax(x), grid)


def test_entropy_clips_lonely_outliers_and_leaves_even_values_alone():
    bulk = torch.linspace(0, 1, 10_000)
    low, high = histogram.entropy(counted(torch.cat((bulk, torch.tensor([20.0])))), Grid(4))
    assert float(low) == 0
    assert float(high) < 4
    low, high = histogram.entropy(counted(bulk), Grid(4))
    assert float(high) > 0.95


def divergence(counts, levels, inside):
    """KL(P ‖ Q) of a few bins, written out."""
    p = [c * i for c, i in zip(counts, inside, strict=True)]
    q = []
    for level, mine in zip(levels, p, strict=True):
        members = [x for x, other in zip(p, levels, strict=True) if other == level and x > 0]
        q.append(sum(members) / len(members) if mine > 0 else 0.0)
    first, last = inside.index(1), len(inside) - 1 - inside[::-1].index(1)
    p[first] += sum(counts[:first])
    p[last] += sum(counts[last + 1 :])
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    floor = 1e-4 / len(counts)
    return sum(a * math.log(a / max(b, floor)) for a, b in zip(p, q, strict=True) if a)


@pytest.mark.parametrize("seed", range(5))
def test_entropy_finds_no_larger_divergence_than_any_clip_of_the_high_end(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.arange(0.0, 16.0)
    counts = torch.randint(0, 50, (16,), generator=generator).float()
    counts[0] = 1
    grid, candidates = Grid(2), 10

    def loss(high):
        inside = [int(v <= high) for v in values]
        levels = quantize(values, *scale_zero_point(torch.zeros(()), high, grid), grid).tolist()
        return divergence(counts.tolist(), levels, inside)

    _, high = histogram.entropy(Histogram(values, counts), grid, candidates)
    clips = [values[-1] * k / candidates for k in range(1, candidates + 1)]
    least = min(loss(clip) for clip in clips if int((values <= clip).sum()) > grid.steps)
    assert int((values <= high).sum()) > grid.steps
    assert loss(high) <= least + 1e-6


def test_a_constant_and_a_wrong_percentile():
    for x in (torch.zeros(5), torch.full((5,), 3.0), torch.full((5,), -3.0)):
        found = counted(x)
        for ends in (
            histogram.percentile(found, 99.0),
            histogram.mse(found, UINT4),
            histogram.entropy(found, UINT4),
        ):
            assert squared_error(x, ends, UINT4) < 1e-9
    with pytest.raises(InvalidInputError, match="p=50"):
        histogram.percentile(found, 50.0)
