import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tersor.core import ranges
from tersor.core.affine import fake_quantize, quantize
from tersor.core.grid import Grid
from tersor.core.pairs import lane_partners
from tersor.core.ranges import minmax, mse, pair_safe_range, percentile, scale_zero_point
from tersor.errors import InvalidInputError

GRIDS = [
    Grid(bits, signed, symmetric)
    for bits in (2, 3, 4, 8, 16)
    for signed in (False, True)
    for symmetric in (False, True)
]
WEIGHTS = Grid(8, signed=True, symmetric=True)

ends = st.floats(-(2.0**100), 2.0**100, width=32)


def tensor(*values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize(
    ("grid", "low", "high", "scale", "zero_point"),
    [
        (Grid(8), -1.0, 1.55, 0.01, 100),
        (Grid(8), 0.0, 6.0, 6 / 255, 0),
        (Grid(8), 2.0, 5.1, 0.02, 0),
        (Grid(8), -5.1, -2.0, 0.02, 255),
        (Grid(8, signed=True), -1.0, 1.55, 0.01, -28),
        (Grid(8, signed=True, symmetric=True), -1.0, 0.5, 1 / 128, 0),
        (Grid(8, signed=True, symmetric=True), -0.5, 1.0, 1 / 127, 0),
        (Grid(4, signed=True, symmetric=True), -8.0, 7.0, 1.0, 0),
        (Grid(4, symmetric=True), -3.0, 15.0, 1.0, 0),
    ],
)
def test_known_values(grid, low, high, scale, zero_point):
    got = scale_zero_point(torch.tensor(low), torch.tensor(high), grid)
    assert got[0].item() == pytest.approx(scale, rel=1e-6)
    assert got[1].item() == zero_point


@given(st.sampled_from(GRIDS), ends, ends)
def test_nothing_inside_the_range_is_clipped(grid, one, other):
    low, high = (torch.tensor(end) for end in sorted((one, other)))
    scale, zero_point = scale_zero_point(low, high, grid)
    x = torch.stack((low, high, low / 2 + high / 2)).clamp(low, high)
    if grid.symmetric and not grid.signed:
        x = x.clamp(min=0)
    error = (fake_quantize(x, scale, zero_point, grid) - x).double().abs()
    assert bool((error <= scale.double() / 2 + 2.0**-21 * x.double().abs()).all())


@given(st.sampled_from(GRIDS), st.data(), st.sampled_from([np.float16, np.float32, np.float64]))
def test_scale_is_always_usable(grid, data, number):
    assume(number is not np.float16 or grid.bits <= 8)  # float16 does not hold larger zero points
    info = np.finfo(number)
    tiny = float(info.smallest_subnormal)
    pairs = [(0.0, 0.0), (0.0, tiny), (-tiny, 0.0), (-tiny, tiny), (0.0, float(info.max))]
    some = st.floats(float(info.min), float(info.max), width=8 * info.dtype.itemsize)
    pairs += [tuple(sorted(data.draw(st.tuples(some, some))))]
    low, high = torch.from_numpy(np.array(pairs, dtype=number).T.copy())
    scale, zero_point = scale_zero_point(low, high, grid)
    assert scale.dtype == low.dtype
    assert bool((scale.isfinite() & (scale >= info.tiny)).all())
    assert bool(((zero_point >= grid.qmin) & (zero_point <= grid.qmax)).all())
    zero = torch.zeros(len(pairs), dtype=low.dtype)
    assert torch.equal(fake_quantize(zero, scale, zero_point, grid, axis=0), zero)
    assert not grid.symmetric or not zero_point.any()


def test_zero_width_gets_the_smallest_scale():
    scale, _ = scale_zero_point(tensor(0.0), tensor(0.0), Grid())
    assert scale.item() == ranges.SMALLEST_SCALE
    assert (scale * scale).item() >= torch.finfo(torch.float32).tiny


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf")), (-float("inf"), 0.0)]
)
def test_what_is_not_a_range_is_refused(low, high):
    with pytest.raises(InvalidInputError, match="not a range"):
        scale_zero_point(torch.tensor(low), torch.tensor(high), Grid())


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_minmax_is_numpys(axis):
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    others = None if axis is None else tuple(i for i in range(3) if i != axis % 3)
    low, high = minmax(x, axis)
    assert np.array_equal(low.numpy(), x.numpy().min(axis=others))
    assert np.array_equal(high.numpy(), x.numpy().max(axis=others))


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("p", [50.5, 75, 99, 99.37, 100])
def test_percentile_is_numpys(p, axis):
    x = torch.randn(4, 250, generator=torch.Generator().manual_seed(1))
    others = None if axis is None else 1 - axis % 2
    low, high = percentile(x, p, axis)
    kind = "inverted_cdf"
    assert np.array_equal(high.numpy(), np.percentile(x.numpy(), p, axis=others, method=kind))
    assert np.array_equal(-low.numpy(), np.percentile(-x.numpy(), p, axis=others, method=kind))


def test_percentile_drops_as_many_values_at_each_end():
    x = torch.cat((tensor(-50.0), torch.linspace(-1, 1, 998), tensor(1000.0)))
    assert percentile(x, 100) == minmax(x)
    assert percentile(x, 99.9) == (-1.0, 1.0)
    assert percentile(x, 99.91) == (-50.0, 1000.0)


@pytest.mark.parametrize("p", [0, 50, 100.1])
def test_percentile_out_of_bounds_is_refused(p):
    with pytest.raises(InvalidInputError, match=f"p={p}"):
        percentile(torch.zeros(3), p)


@pytest.mark.parametrize("find", [minmax, percentile, lambda x, axis: mse(x, Grid(), axis)])
@pytest.mark.parametrize(("shape", "axis"), [((0,), None), ((2, 3), 2), ((), 0), ((0, 3), 1)])
def test_empty_tensors_and_missing_axes_are_refused(find, shape, axis):
    with pytest.raises(InvalidInputError, match="no range"):
        find(torch.zeros(shape), axis=axis)


def cost(x, low, high, grid):
    """‖x̂ - x‖² in plain numpy, float64."""
    low, high = min(low, 0.0), max(high, 0.0)
    if not grid.symmetric:
        scale = (high - low) / grid.steps
    else:
        scale = max(low / grid.qmin if grid.signed else 0.0, high / grid.qmax)
    scale = max(scale, ranges.SMALLEST_SCALE)
    zero_point = 0 if grid.symmetric else np.round(grid.qmin - low / scale)
    q = np.clip(np.round(x / scale) + zero_point, grid.qmin, grid.qmax)
    return float((((q - zero_point) * scale - x) ** 2).sum())


@pytest.mark.parametrize("grid", [Grid(2, True, True), Grid(4, True, True), Grid(3, False, True)])
def test_symmetric_mse_is_the_best_of_all_candidates(grid):
    x = torch.randn(200, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    low, high = mse(x, grid, candidates=50)
    floor, top = x.min().item(), x.max().item()
    best = min(cost(x.numpy(), floor * k / 50, top * k / 50, grid) for k in range(1, 51))
    assert cost(x.numpy(), low.item(), high.item(), grid) == pytest.approx(best, rel=1e-9)
    assert high < top


@pytest.mark.parametrize("grid", [Grid(2), Grid(4), Grid(4, signed=True)])
def test_asymmetric_mse_beats_shrinking_both_ends_alike(grid):
    x = torch.nn.functional.silu(
        3 * torch.randn(500, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    )
    low, high = mse(x, grid, candidates=20)
    floor, top = x.min().item(), x.max().item()
    together = min(cost(x.numpy(), floor * k / 20, top * k / 20, grid) for k in range(1, 21))
    assert cost(x.numpy(), low.item(), high.item(), grid) < together
    assert high < top


@given(
    st.sampled_from(GRIDS),
    hnp.arrays(np.float64, (3, 7), elements=st.floats(-1e6, 1e6)),
)
def test_mse_is_never_worse_than_minmax(grid, x):
    lows, highs = mse(torch.from_numpy(x), grid, axis=0, candidates=10)
    for row, low, high in zip(x, lows.tolist(), highs.tolist(), strict=True):
        plain = cost(row, row.min(), row.max(), grid)
        assert cost(row, low, high, grid) <= plain * (1 + 1e-9) + 1e-20


@pytest.mark.parametrize("grid", [Grid(3), Grid(3, signed=True, symmetric=True)])
def test_mse_per_channel_is_mse_of_each_channel_in_blocks_of_any_size(grid, monkeypatch):
    x = torch.randn(5, 3, 11, generator=torch.Generator().manual_seed(4)) * 7
    whole = torch.stack(mse(x, grid, axis=1, candidates=20))
    alone = [torch.stack(mse(x[:, i], grid, candidates=20)) for i in range(3)]
    assert torch.equal(whole, torch.stack(alone, dim=1))
    for block in (1, 100, 400):
        monkeypatch.setattr(ranges, "_BLOCK", block)
        assert torch.equal(torch.stack(mse(x, grid, axis=1, candidates=20)), whole)


@given(
    st.sampled_from(GRIDS),
    hnp.arrays(np.float64, (3, 9), elements=st.floats(-1e3, 1e3)),
)
def test_mse_leaves_out_only_ranges_that_cannot_be_better(grid, x):
    ends = []
    for every in (1, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranges, "_EVERY", every)
            ends.append(torch.stack(mse(torch.from_numpy(x), grid, axis=0, candidates=30)))
    assert torch.equal(*ends)


def test_mse_refuses_values_that_are_not_finite():
    with pytest.raises(InvalidInputError, match="not a range"):
        mse(tensor(0.0, float("nan"), 1.0), Grid())


def integers(weight, low, high, axis=0):
    scale, zero_point = scale_zero_point(low, high, WEIGHTS)
    return scale, quantize(weight, scale, zero_point, WEIGHTS, axis if scale.ndim else None)


def assert_pairs_are_exact(rows):
    """No two weights of a row, times the largest activations, leave int16."""
    for row in rows.tolist():
        for one, other in itertools.combinations(row, 2):
            assert -(2**15) <= 255 * (one + other) <= 2**15 - 1


rows = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=st.floats(-8, 8, width=32)
)
halves = hnp.arrays(np.float32, (2, 6), elements=st.integers(-256, 256).map(lambda k: k / 2))


@given(st.one_of(rows, halves), st.booleans(), st.sampled_from([1.0, 1 / 3, 1e-6, 1e10]))
@example(np.array([[64.5, 63.5, 0.0, -64.5, -63.5]], np.float32), True, 1.0)
@example(np.array([[127.0, 1.0], [-128.0, 0.0]], np.float32), True, 1.0)
@example(np.array([[-4.9746323, -4.9746323]], np.float32), False, 1 / 3)
def test_pairs_never_saturate_nor_clip_and_are_no_coarser_than_7_bits(values, per_channel, unit):
    weight = torch.from_numpy(values) * unit
    low, high = pair_safe_range(weight, per_channel=per_channel)
    scale, q = integers(weight, low, high)
    assert_pairs_are_exact(q)
    error = (q.double() * scale.double().view(-1, *[1] * scale.ndim) - weight.double()).abs()
    assert bool((error <= scale.double().max() * (0.5 + 1e-4)).all())
    peak = weight.double()
    ends = torch.stack((-peak.amin(dim=1) / 64, peak.amax(dim=1) / 63, torch.zeros(len(peak))))
    coarse = ends.amax(dim=0) if per_channel else ends.max()
    assert bool((scale <= coarse.float().clamp(min=ranges.SMALLEST_SCALE)).all())


@given(rows, st.booleans())
def test_known_partners_never_saturate_and_need_no_coarser_range(values, per_channel):
    weight = torch.from_numpy(values)
    partner = lane_partners(weight.shape[1])
    scale, q = integers(weight, *pair_safe_range(weight, 0, per_channel, partner))
    for one, other in enumerate(partner.tolist()):
        if one != other:
            assert_pairs_are_exact(q[:, [one, other]])
    any_two, _ = integers(weight, *pair_safe_range(weight, 0, per_channel))
    assert bool((scale <= any_two).all())
    whole, _ = integers(weight, *minmax(weight, 0 if per_channel else None))
    assert bool((scale >= whole * (1 - 1e-6)).all())


def test_only_the_weights_that_meet_restrain_the_range():
    weight = tensor(127.0, -100.0, 100.0, 20.0, 90.0).view(1, 5)
    partner = lane_partners(5)  # (127, -100), (100, 20), and 90 alone
    scale, _ = integers(weight, *pair_safe_range(weight, partner=partner))
    assert scale.item() == pytest.approx(1.0, rel=1e-6)
    weight[0, 3] = 60.0
    scale, _ = integers(weight, *pair_safe_range(weight, partner=partner))
    assert scale.item() == pytest.approx(160 / 128, rel=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_pairs_that_divide_to_just_above_two_ties_are_exact(sign):
    random = torch.Generator().manual_seed(7)
    unit = torch.rand(50_000, generator=random) + 0.5
    odd = torch.randint(0, 64, (50_000,), generator=random) + 0.5
    weight = sign * torch.stack(((128 - odd) * unit, odd * unit), dim=1)
    weight = torch.nextafter(weight, sign * torch.full_like(weight, torch.inf))
    assert integers(weight, *pair_safe_range(weight))[1].sum(dim=1).abs().max() <= 128


def test_pair_safe_keeps_8_bits_where_one_weight_stands_out_and_no_finer_is_safe():
    weight = tensor(127.0, 1.0, -0.5, -90.0).view(1, 4)
    scale, q = integers(weight, *pair_safe_range(weight))
    assert scale.item() == pytest.approx(1.0, rel=1e-6)
    assert q.tolist() == [[127.0, 1.0, 0.0, -90.0]]
    weight = torch.randn(1, 500, generator=torch.Generator().manual_seed(5))
    scale, q = integers(weight, *pair_safe_range(weight))
    finer = torch.round(weight / (scale * 0.985)).clamp(-128, 127).sort().values[0]
    assert max(finer[-1] + finer[-2], -(finer[0] + finer[1])) > 128


def test_pair_safe_takes_any_axis_and_the_tensor_takes_the_widest_row():
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(6))
    low, high = pair_safe_range(weight, axis=1)
    assert_pairs_are_exact(integers(weight, low, high, axis=1)[1].movedim(1, 0).flatten(1))
    whole = pair_safe_range(weight, axis=1, per_channel=False)
    scales, scale = (scale_zero_point(*pair, WEIGHTS)[0] for pair in ((low, high), whole))
    assert scale == scales.max()
    assert bool(((low <= weight.amin((0, 2, 3))) & (high >= weight.amax((0, 2, 3)))).all())


def test_pair_safe_of_zero_weights_is_zero():
    low, high = pair_safe_range(torch.zeros(2, 3))
    assert low.abs().tolist() == high.tolist() == [0.0, 0.0]


def test_a_vector_has_a_range_for_each_value():
    x = torch.tensor([3.0, -1.0, 0.5])
    low, high = minmax(x, -1)
    assert torch.equal(low, x)
    assert torch.equal(high, x)
