"""Ranges: from values, or from their minimum and maximum, to a scale and a zero point.

Every range is a pair `(low, high)`, 0-d for the tensor (`axis=None`) or 1-d along `axis`;
`scale_zero_point` turns it into the numbers that `tersor.core.affine` takes.
"""

from collections.abc import Callable
from math import ceil

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tersor.core.affine import fake_quantize
from tersor.core.grid import Grid
from tersor.core.pairs import Partners
from tersor.errors import InvalidInputError

SMALLEST_SCALE = 2.0**-46
"""The floor of every scale (about 1.4e-14, or the smallest normal number if that is larger).

A step this small adds nothing to float32 values near one, and the product of two such scales (the
scale of a bias) is still a normal float32 number.
"""

_BLOCK = 2**17  # elements that the MSE search quantizes at once: as many as a cache holds
_EVERY = 8  # ranges: how often the MSE search looks whether smaller ones can be better


def scale_zero_point(
    low: Float[Tensor, "*channels"], high: Float[Tensor, "*channels"], grid: Grid
) -> tuple[Float[Tensor, "*channels"], Int64[Tensor, "*channels"]]:
    """Compute the finest scale, and its zero point, with which nothing in `[low, high]` is clipped.

        asymmetric:          scale = (high - low) / steps,  zero_point = round(qmin - low / scale)
        symmetric signed:    scale = max(low / qmin, high / qmax),  zero_point = 0
        symmetric unsigned:  scale = high / qmax,  zero_point = 0 (values below 0 become 0)

    The range is first widened to contain 0, so 0.0 is always represented exactly. The scale is
    never below `SMALLEST_SCALE`: a range of zero width gets that scale.

    Args:
        low: Smallest values.
        high: Largest values, `high ≥ low`, of the same shape.
        grid: Integers to map to.

    Returns:
        Scale in the dtype of `low`, and zero point as integers inside the grid.

    Raises:
        InvalidInputError: If an end is NaN or infinite, or `low > high`.
    """
    if not bool((low.isfinite() & high.isfinite() & (low <= high)).all()):
        raise InvalidInputError(
            f"not a range: low={low.tolist()}, high={high.tolist()}; both ends must be finite "
            "and low ≤ high. Look for NaN or infinity in the values they came from."
        )
    bottom, top = low.double().clamp(max=0), high.double().clamp(min=0)
    if not grid.symmetric:
        scale = (top - bottom) / grid.steps
    elif grid.signed:
        scale = torch.maximum(bottom / grid.qmin, top / grid.qmax)
    else:
        scale = top / grid.qmax
    info = torch.finfo(low.dtype)
    scale = scale.clamp(max(SMALLEST_SCALE, info.tiny), info.max).to(low.dtype)
    if grid.symmetric:
        return scale, torch.zeros_like(scale, dtype=torch.int64)
    zero_point = torch.round(grid.qmin - bottom / scale.double())
    return scale, zero_point.clamp(grid.qmin, grid.qmax).long()


def minmax(
    x: Float[Tensor, "*shape"], axis: int | None = None
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The smallest and largest value of `x`, or of each index of `axis`.

    Raises:
        InvalidInputError: If `x` is empty or has no such axis.
    """
    return _squeeze(row_ends(channel_rows(x, axis)), axis)


def row_ends(
    rows: Float[Tensor, "rows values"],
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """The smallest and largest value of each row: two passes, as `aminmax` is far slower on rows.

    Args:
        rows: The values; a row with NaN has NaN for both.
    """
    return rows.amin(1), rows.amax(1)


def percentile(
    x: Float[Tensor, "*shape"], p: float | int = 99.99, axis: int | None = None
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The range that is left if the outermost `100 - p` percent at *each* end are ignored.

    Values are ranked, not interpolated: `high` is the smallest element with at least `p` percent
    of all elements at or below it, and `low` mirrors it. `p = 100` is `minmax`.

    Args:
        x: Values.
        p: Percent, above 50 and at most 100.
        axis: Channel axis, or None for the whole tensor.

    Raises:
        InvalidInputError: If `p` is out of bounds, or `x` is empty or has no such axis.
    """
    if not 50 < p <= 100:
        raise InvalidInputError(f"percentile: p={p}; choose p above 50 and at most 100.")
    rows = channel_rows(x, axis)
    count = rows.shape[1]
    rank = ceil(p * count / 100 - 1e-9)  # 1e-9: p itself is rounded
    low, high = (rows.kthvalue(k, dim=1).values for k in (count + 1 - rank, rank))
    return _squeeze((low, high), axis)


def mse(
    x: Float[Tensor, "*shape"], grid: Grid, axis: int | None = None, candidates: int = 100
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The clipped range that minimizes `‖x̂ - x‖²`, never worse than `minmax`.

    The ends of the min-max range, widened to contain 0, are multiplied by `k / candidates` for
    `k = candidates … 1`: both together, and on asymmetric grids then the high end alone and the
    low end alone. Each channel keeps its own best. Smaller ranges are not tried once what is cut
    off is more than the whole error of a larger one.

    Args:
        x: Values.
        grid: Integers to round to.
        axis: Channel axis, or None for the whole tensor.
        candidates: Number of factors to try.

    Raises:
        InvalidInputError: If `x` is empty, not finite or has no such axis.
    """
    rows = channel_rows(x, axis)
    low, high = rows.amin(dim=1).clamp(max=0), rows.amax(dim=1).clamp(min=0)
    factors = torch.arange(candidates, 0, -1, device=x.device, dtype=x.dtype) / candidates
    for move_low, move_high in ((1, 1),) if grid.symmetric else ((1, 1), (0, 1), (1, 0)):
        lows = low * factors[:, None] ** move_low
        highs = high * factors[:, None] ** move_high
        best = _closest(rows, *scale_zero_point(lows, highs, grid), grid)[None]
        low, high = lows.gather(0, best)[0], highs.gather(0, best)[0]
    return _squeeze((low, high), axis)


def pair_safe_range(
    weight: Float[Tensor, "*shape"],
    axis: int = 0,
    per_channel: bool = True,
    partner: Partners | None = None,
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The 8-bit weight range, in closed form, with which no u8×s8 pair saturates int16.

    x86 kernels without VNNI add `a₀q₀ + a₁q₁` in saturating int16: exact when
    `-128 ≤ q₀ + q₁ ≤ 128`, see `tersor.core.pairs`. With `p` the largest positive weight of an
    output channel, `n` the largest negative magnitude, `P` the largest positive sum of two weights
    that meet, and `N` the largest negative magnitude of such a sum (0 where there is none),

        scale = max(p / 127, n / 128, P / 128, N / 128).

    Proof: let `u + v ≤ 128` be two scaled weights. `round(u) + round(v) ≤ u + v + 1` is an
    integer, so it can reach 129 only if `u + v = 128` and both are halves that round up; ties go
    to even, so both floors are odd and `u + v = odd + odd + 1` is odd: not 128. ∎
    Four ulps of the dtype are added for the divisions; the 7-bit scale `max(p, n) / 64`, safe as
    well, is the ceiling, so the range is never coarser than `[-64, 63]`.

    Args:
        weight: Weights of one layer.
        axis: Output-channel axis.
        per_channel: One range for each output channel, or the widest for the whole tensor.
        partner: Which weights of a channel meet, flattened; by default any two may meet.

    Returns:
        `(low, high)`: `-128 · scale`, and the largest weight or 0. Pass them to `scale_zero_point`
        with a signed symmetric 8-bit grid. Only weights rounded to nearest are guaranteed.

    Raises:
        InvalidInputError: If `weight` is empty or has no such axis.
    """
    rows = channel_rows(weight, axis)
    blocks = rows.split(max(1, _BLOCK // rows.shape[1]))
    ends = [_pair_safe_ends(block.double(), weight.dtype, partner) for block in blocks]
    low, high = map(torch.cat, zip(*ends, strict=True))
    return (low, high) if per_channel else (low.amin(), high.amax())


def _pair_safe_ends(
    rows: Float[Tensor, "channels values"], dtype: torch.dtype, partner: Partners | None
) -> tuple[Tensor, Tensor]:
    largest = torch.stack((rows.amax(dim=1), -rows.amin(dim=1))).clamp(min=0)
    single = largest / largest.new_tensor([[127.0], [128.0]])
    scale = torch.maximum(single, _sums(rows, partner) / 128).amax(dim=0)
    scale = scale * (1 + 4 * torch.finfo(dtype).eps)
    scale = torch.minimum(scale, largest.amax(dim=0) / 64)
    return (-128 * scale).to(dtype), largest[0].to(dtype)


def _sums(rows: Float[Tensor, "channels values"], partner: Partners | None) -> Tensor:
    """The largest sum of two weights that meet, and the largest magnitude of a negative sum."""
    if partner is not None:
        both = rows + rows[:, partner] * (partner != torch.arange(len(partner)).to(partner))
        return torch.stack((both.amax(dim=1), -both.amin(dim=1)))
    rows = torch.cat((rows, rows.new_zeros(len(rows), 2)), dim=1)
    ends = torch.stack((rows.topk(2, dim=1).values, -rows.topk(2, dim=1, largest=False).values))
    return ends.sum(dim=-1)


def channel_rows(x: Tensor, axis: int | None) -> Float[Tensor, "channels values"]:
    """View `x` as `[channels, values]`; one row for the whole tensor.

    Args:
        x: Values.
        axis: Channel axis, or None for the whole tensor.

    Raises:
        InvalidInputError: If `x` is empty or has no such axis.
    """
    if x.numel() == 0 or (axis is not None and not -x.ndim <= axis < x.ndim):
        raise InvalidInputError(
            f"no range along axis {axis} of a tensor of shape {tuple(x.shape)}: it is empty or "
            "has no such axis."
        )
    if axis is None:
        return x.reshape(1, -1)
    return x.movedim(axis, 0).reshape(x.shape[axis], -1)


def _squeeze(ends: tuple[Tensor, Tensor], axis: int | None) -> tuple[Tensor, Tensor]:
    """Drop the channel axis if the range is that of the whole tensor."""
    low, high = ends
    return (low[0], high[0]) if axis is None else (low, high)


def _closest(rows: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid) -> Tensor:
    """The number of the closest of some ranges `[candidates, channels]`, widest first, by row."""
    height = max(1, _BLOCK // rows.shape[1])
    parts = rows.split(height), scale.split(height, dim=-1), zero_point.split(height, dim=-1)
    return torch.cat([_closest_of(x, s, z, grid) for x, s, z in zip(*parts, strict=True)])


def _closest_of(rows: Tensor, scales: Tensor, zero_points: Tensor, grid: Grid) -> Tensor:
    """The same for rows that a cache holds, or for a single one."""
    errors, least = list[Tensor](), scales.new_tensor(torch.inf, dtype=torch.float64)
    for number, (scale, zero_point) in enumerate(zip(scales, zero_points, strict=True)):
        errors.append(_squared_error(rows, scale, zero_point, grid))
        least = torch.minimum(least, errors[-1])
        is_checked = number % _EVERY == _EVERY - 1
        if is_checked and bool((_cut_off(rows, scale, zero_point, grid) > least).all()):
            break
    return torch.stack(errors).argmin(0)


def _squared_error(rows: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid) -> Tensor:
    """`‖x̂ - x‖²` of every row."""
    return _distance(rows, lambda x: fake_quantize(x, scale, zero_point, grid, axis=0))


def _cut_off(rows: Tensor, scale: Tensor, zero_point: Tensor, grid: Grid) -> Tensor:
    """Less than the squared error of every row with this scale or any smaller one.

    That is the distance to the ends of the grid, whose zero point is rounded.
    """
    spare = 0 if grid.symmetric else 1
    ends = (((end - zero_point) * scale)[:, None] for end in (grid.qmin - spare, grid.qmax + spare))
    low, high = ends
    return _distance(rows, lambda x: x.clamp(low, high))


def _distance(rows: Tensor, moved: Callable[[Tensor], Tensor]) -> Float[Tensor, " channels"]:
    """How far values are moved, squared and summed for each row, block by block."""
    blocks = rows.split(max(1, _BLOCK // len(rows)), dim=1)
    parts = (moved(block).sub_(block).square_().sum(1) for block in blocks)
    return torch.stack([part.double() for part in parts]).sum(0)
