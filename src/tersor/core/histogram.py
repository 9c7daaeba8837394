"""Ranges from a histogram of the values: percentile, squared error, entropy.

    percentile   the range without the outermost values at each end
    mse          min Σ n (x̂ − x)²
    entropy      min KL(P ‖ Q) = Σ P log(P / Q)

P is the histogram with everything outside of the range moved to its ends. Q is P after rounding:
the count of each level is spread evenly over the values that occur in it. The entropy criterion is
that of TensorRT (Migacz, 2017, "8-bit inference with TensorRT").

Differs from the paper in: ranges may have two ends, and are searched as in
`tersor.core.ranges.mse`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.affine import fake_quantize, quantize
from tersor.core.grid import Grid
from tersor.core.ranges import scale_zero_point
from tersor.errors import InvalidInputError

_LEAST = -64  # exponent of 2 that bins reach at least
_ENOUGH = 1 << 17  # values that are counted of those that come at once
_STEPS = (1, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61)
_SMOOTHING = 1e-4  # of the mass: the value of Q where P is positive and Q is zero
Ends = tuple[Float[Tensor, ""], Float[Tensor, ""]]


@dataclass(frozen=True)
class Histogram:
    """Values, and how often each occurs.

    Attributes:
        values: The values, ascending.
        counts: How often each occurs; not all zero.
    """

    values: Float[Tensor, " values"]
    counts: Float[Tensor, " values"]


class Counter:
    """Counts values in bins of equal width, and zeros separately.

    Zero is on every grid and often half of all values; the middle of a bin would not be exactly 0.
    Bins get twice as wide when a value does not fit in. Of many values that come at once, every
    third, fifth, … counts.
    """

    def __init__(self, bins: int = 2048) -> None:
        """Start with no value.

        Args:
            bins: Number of bins on each side of zero, a power of 2; more than half of them are used
                on the side of the farthest value.
        """
        self.bins = bins
        self._exponent = _LEAST
        self._counts = torch.zeros(2 * bins, dtype=torch.float64)
        self._zeros = 0

    def __call__(self, x: Float[Tensor, "*shape"]) -> None:
        """Count values; of what is not finite the ends tell."""
        x = x.detach().flatten()[:: _step(x)].float()
        reach = float(x.abs().max())
        if not math.isfinite(reach):
            return
        self._widen(math.frexp(reach)[1] if reach else self._exponent)
        place = x.div(self._width).floor_().int().add_(self.bins).clamp_(0, 2 * self.bins - 1)
        counts = torch.bincount(place, minlength=2 * self.bins).to(self._counts)
        zeros = len(x) - int(x.count_nonzero())
        counts[self.bins] -= zeros
        self._counts += counts
        self._zeros += zeros

    @property
    def _width(self) -> float:
        return math.ldexp(1 / self.bins, self._exponent)

    def _widen(self, exponent: int) -> None:
        """Make the bins reach as far as 2^exponent: neighbours become one."""
        while self._exponent < exponent:
            half = self.bins // 2
            self._counts[half:-half] = self._counts.view(-1, 2).sum(1)
            self._counts[:half] = self._counts[-half:] = 0
            self._exponent += 1 if self._counts.any() else exponent - self._exponent

    def histogram(self, low: Float[Tensor, ""], high: Float[Tensor, ""]) -> Histogram:
        """The histogram so far: bins by their middle, and both ends.

        Args:
            low: The lowest of all values, whether counted or not.
            high: The highest one.
        """
        used = self._counts.nonzero()
        first, last = (int(used.min()), int(used.max())) if len(used) else (0, -1)
        places = torch.arange(first, last + 1, dtype=torch.float64) - self.bins + 0.5
        middle = (places * self._width).to(low).clamp(low, high)
        values = torch.cat((low[None], middle, low.new_zeros(1), high[None]))
        zeros = self._counts.new_tensor([self._zeros])
        counts = torch.cat((zeros * 0, self._counts[first : last + 1], zeros, zeros * 0))
        order = values.argsort(stable=True)
        return Histogram(values[order], counts.to(low)[order])


def _step(x: Tensor) -> int:
    """A distance that meets all places along each axis: a prime that divides no size."""
    wanted = x.numel() / _ENOUGH
    fits = [k for k in _STEPS if k == 1 or all(size % k for size in x.shape)]
    return next((k for k in fits if k >= wanted), fits[-1])


def percentile(seen: Histogram, p: float) -> Ends:
    """The range left when the outermost `100 − p` percent at each end are ignored.

    Args:
        seen: The histogram.
        p: Percent, above 50 and at most 100.

    Raises:
        InvalidInputError: If `p` is out of bounds.
    """
    if not 50 < p <= 100:
        raise InvalidInputError(f"percentile: p={p}; choose p above 50 and at most 100.")

    def end(counts: Tensor) -> Tensor:
        reached = counts.double().cumsum(0) >= counts.double().sum() * p / 100 * (1 - 1e-12)
        return reached.long().argmax()

    return seen.values.flip(0)[end(seen.counts.flip(0))], seen.values[end(seen.counts)]


def mse(seen: Histogram, grid: Grid, candidates: int = 100) -> Ends:
    """The clipped range with the smallest squared rounding error.

    Args:
        seen: The histogram.
        grid: Integers to round to.
        candidates: Number of factors tried, see `tersor.core.ranges.mse`.
    """
    occurs = seen.counts > 0
    values, counts = seen.values[occurs], seen.counts[occurs].double()

    def losses(low: Tensor, high: Tensor) -> Tensor:
        given = values.expand(len(low), -1)
        rounded = fake_quantize(given, *scale_zero_point(low, high, grid), grid, axis=0)
        return rounded.sub_(given).square_().double() @ counts

    return _search(seen, grid, losses, candidates)


def entropy(seen: Histogram, grid: Grid, candidates: int = 100) -> Ends:
    """The clipped range with which rounding preserves the distribution best.

    Args:
        seen: The histogram.
        grid: Integers to round to.
        candidates: Number of factors tried, see `tersor.core.ranges.mse`.
    """
    values, counts = seen.values, seen.counts.double()

    def loss(low: Tensor, high: Tensor) -> Tensor:
        inside = (values >= low) & (values <= high)
        if int(inside.sum()) <= grid.steps and not bool(inside.all()):
            return counts.new_tensor(torch.inf)  # fewer values than levels: nothing to compare
        first, last = inside.long().argmax(), len(values) - 1 - inside.flip(0).long().argmax()
        p = counts * inside
        levels = quantize(values, *scale_zero_point(low, high, grid), grid).long() - grid.qmin
        mass, used = (
            torch.zeros(grid.steps + 1, dtype=p.dtype, device=p.device).index_add(0, levels, x)
            for x in (p, (p > 0).to(p))
        )
        q = (mass / used.clamp(min=1))[levels] * (p > 0)
        p[first] += counts[values < low].sum()
        p[last] += counts[values > high].sum()
        p, q = p / p.sum(), q / q.sum().clamp(min=1)
        floor = _SMOOTHING / len(values)
        return torch.where(p > 0, p * (p / q.clamp(min=floor)).log(), 0.0).sum()

    def losses(low: Tensor, high: Tensor) -> Tensor:
        return torch.stack([loss(*ends) for ends in zip(low, high, strict=True)])

    return _search(seen, grid, losses, candidates)


def _search(
    seen: Histogram, grid: Grid, losses: Callable[[Tensor, Tensor], Tensor], candidates: int
) -> Ends:
    """Clip both ends, then the high one, then the low one; the widest of equal ranges wins."""
    low, high = seen.values[0].clamp(max=0), seen.values[-1].clamp(min=0)
    factors = torch.tensor([k / candidates for k in range(candidates, 0, -1)]).to(low)
    for move_low, move_high in ((1, 1),) if grid.symmetric else ((1, 1), (0, 1), (1, 0)):
        lows, highs = low * factors**move_low, high * factors**move_high
        best = losses(lows, highs).argmin()
        low, high = lows[best], highs[best]
    return low, high
