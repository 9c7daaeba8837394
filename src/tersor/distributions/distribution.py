"""Distributions of the values on an edge, known without data: per-channel moments and range.

The functions here combine distributions as if the values were independent; means need no such
assumption. Ranges are those that values take in practice: interval arithmetic, cut to
`mean ± sigmas · std` where the result is near Gaussian.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Distribution:
    """Per-channel mean, variance and range of a value.

    Attributes:
        mean: Mean per channel.
        var: Variance per channel.
        low: Smallest value that occurs in practice, per channel.
        high: Largest value that occurs in practice, per channel.
        axis: The channel axis, counted from the front: 1 for maps `[n, c, h, w]` and features
            `[n, c]`, 2 for tokens `[n, t, c]`.
        guess: True if variance and range depend on a layer without statistics, whose inputs were
            assumed independent, or on a LayerNorm. Such ranges are often too narrow.
    """

    mean: Float[Tensor, " channels"]
    var: Float[Tensor, " channels"]
    low: Float[Tensor, " channels"]
    high: Float[Tensor, " channels"]
    axis: int
    guess: bool = False

    @property
    def std(self) -> Float[Tensor, " channels"]:
        """Standard deviation per channel."""
        return self.var.sqrt()

    @property
    def is_constant(self) -> bool:
        """True if every channel takes one value only."""
        return bool((self.low == self.high).all())

    @property
    def is_finite(self) -> bool:
        """True if moments and range are known in every channel."""
        known = torch.stack((self.mean, self.var, self.low, self.high))
        return bool(known.isfinite().all())

    @staticmethod
    def cat(parts: "Sequence[Distribution]") -> "Distribution":
        """Concatenate the channels of several distributions, in order."""
        mean, var, low, high = zip(*((x.mean, x.var, x.low, x.high) for x in parts), strict=True)
        joined = map(torch.cat, (mean, var, low, high))
        return Distribution(*joined, axis=parts[0].axis)

    def take(self, channels: Tensor, axis: int) -> "Distribution":
        """The distribution of some channels, in the given order, along a new channel axis."""
        mean, var = self.mean[channels], self.var[channels]
        return Distribution(mean, var, self.low[channels], self.high[channels], axis)

    def expand(self, channels: int, axis: int) -> "Distribution":
        """Repeat the distribution of a single channel, or return this one if the number fits."""
        mean, var = self.mean.expand(channels), self.var.expand(channels)
        return Distribution(mean, var, self.low.expand(channels), self.high.expand(channels), axis)


def bounded(
    mean: Float[Tensor, " channels"],
    var: Float[Tensor, " channels"],
    low: Float[Tensor, " channels"],
    high: Float[Tensor, " channels"],
    axis: int,
) -> Distribution:
    """Make moments fit a range.

    The mean is moved into `[low, high]`, and the variance is cut to the largest one that the range
    allows, `(mean − low)(high − mean)`.
    """
    mean = mean.maximum(low).minimum(high)
    return Distribution(mean, var.minimum((mean - low) * (high - mean)), low, high, axis)


def gaussian(
    mean: Float[Tensor, " channels"],
    var: Float[Tensor, " channels"],
    axis: int,
    sigmas: float,
    interval: tuple[Tensor, Tensor] | None = None,
) -> Distribution:
    """A nearly Gaussian value with range `mean ± sigmas · std`, inside an interval if known.

    If interval and moments contradict each other, which only wrong statistics can cause, the
    interval is ignored.
    """
    reach = sigmas * var.sqrt()
    low, high = mean - reach, mean + reach
    if interval is not None:
        inside = (interval[0] <= mean) & (mean <= interval[1])
        low = torch.where(inside, low.maximum(interval[0]), low)
        high = torch.where(inside, high.minimum(interval[1]), high)
    return Distribution(mean, var, low, high, axis)


def uniform(low: float, high: float, like: Float[Tensor, " channels"], axis: int) -> Distribution:
    """A value of which only the range is known."""
    lows, highs = torch.full_like(like, low), torch.full_like(like, high)
    return Distribution((lows + highs) / 2, (highs - lows).square() / 12, lows, highs, axis)


def of_constant(value: Tensor, shape: torch.Size, axis: int) -> Distribution:
    """The distribution of each channel of a stored tensor, broadcast to `shape`."""
    spread = value.expand(torch.broadcast_shapes(value.shape, (1,) * len(shape)))
    rows = spread.movedim(axis, 0).flatten(1)
    low, high = rows.aminmax(dim=1)
    var = rows.var(1, correction=0)
    return Distribution(rows.mean(1), var, low, high, axis).expand(shape[axis], axis)


def add(x: Distribution, y: Distribution, sigmas: float) -> Distribution:
    """x + y for independent x and y."""
    interval = (x.low + y.low, x.high + y.high)
    return gaussian(x.mean + y.mean, x.var + y.var, x.axis, sigmas, interval)


def subtract(x: Distribution, y: Distribution, sigmas: float) -> Distribution:
    """x − y for independent x and y."""
    return add(x, Distribution(-y.mean, y.var, -y.high, -y.low, y.axis), sigmas)


def multiply(x: Distribution, y: Distribution, sigmas: float) -> Distribution:  # noqa: ARG001
    """x · y for independent x and y; the range is the interval: products have heavy tails."""
    var = x.var * y.var + x.var * y.mean.square() + y.var * x.mean.square()
    corners = torch.stack([a * b for a in (x.low, x.high) for b in (y.low, y.high)])
    return bounded(x.mean * y.mean, var, corners.amin(0), corners.amax(0), x.axis)


def dilute(x: Distribution, share: Float[Tensor, " channels"], value: float) -> Distribution:
    """A value of which a share of the elements is replaced by a constant, as padding does."""
    mean = x.mean + share * (value - x.mean)
    var = (1 - share) * (x.var + share * (value - x.mean).square())
    touched, untouched = share > 0, share < 1
    low = torch.where(touched, torch.where(untouched, x.low.clamp(max=value), value), x.low)
    high = torch.where(touched, torch.where(untouched, x.high.clamp(min=value), value), x.high)
    return Distribution(mean, var, low, high, x.axis)
