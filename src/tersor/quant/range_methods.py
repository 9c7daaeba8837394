"""Methods that choose a range for weights and activations, each with its options."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from tersor.checked import Count, Percent, checked
from tersor.core import histogram
from tersor.core.grid import Grid
from tersor.core.histogram import Histogram
from tersor.core.ranges import minmax, mse, percentile
from tersor.core.starts import mean_step

Range = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class MinMax:
    """The whole range of the values; for activations on few samples, with a margin."""

    def __call__(self, x: Tensor, grid: Grid, axis: int | None) -> Range:  # noqa: ARG002
        """The smallest and largest value, per channel of `axis`."""
        return minmax(x, axis)

    def of(self, seen: Histogram, grid: Grid) -> Range:  # noqa: ARG002
        """The smallest and largest value that occurred."""
        return seen.values[0], seen.values[-1]


@checked()
@dataclass(frozen=True)
class Percentile:
    """The range without outliers.

    Attributes:
        p: Percent of the values that lie below the high end, and above the low end.
    """

    p: Percent = 99.99

    def __call__(self, x: Tensor, grid: Grid, axis: int | None) -> Range:  # noqa: ARG002
        """The low and high percentile, per channel of `axis`."""
        return percentile(x, self.p, axis)

    def of(self, seen: Histogram, grid: Grid) -> Range:  # noqa: ARG002
        """The low and high percentile of the counted values."""
        return histogram.percentile(seen, self.p)


@checked()
@dataclass(frozen=True)
class MSE:
    """The range with the smallest squared rounding error.

    Attributes:
        candidates: Number of clipped ranges tried.
    """

    candidates: Count = 100

    def __call__(self, x: Tensor, grid: Grid, axis: int | None) -> Range:
        """The best range on this grid, per channel of `axis`."""
        return mse(x, grid, axis, self.candidates)

    def of(self, seen: Histogram, grid: Grid) -> Range:
        """The best range for the counted values."""
        return histogram.mse(seen, grid, self.candidates)


@checked()
@dataclass(frozen=True)
class Entropy:
    """The range with which rounding preserves the distribution best: for activations on data.

    Attributes:
        candidates: Number of clipped ranges tried.
    """

    candidates: Count = 100

    def of(self, seen: Histogram, grid: Grid) -> Range:
        """The best range for the counted values."""
        return histogram.entropy(seen, grid, self.candidates)


@dataclass(frozen=True)
class MeanRange:
    """The range of LSQ, arXiv 1902.08153: from the mean of the magnitudes, for training."""

    def of(self, seen: Histogram, grid: Grid) -> Range:
        """As many steps of 2 · mean|v| / √p as the grid has, from the lowest value, or from 0."""
        mean = (seen.values.abs() * seen.counts).sum() / seen.counts.sum()
        step = mean_step(mean, grid)
        if grid.symmetric:
            return step * grid.qmin, step * grid.qmax
        low = seen.values[0].clamp(max=0)
        return low, low + grid.steps * step


RangeMethod = Callable[[Tensor, Grid, int | None], Range]


@runtime_checkable
class ActivationRange(Protocol):
    """Chooses a range for counted values: `MinMax`, `Percentile`, `MSE` or `Entropy`."""

    def of(self, seen: Histogram, grid: Grid) -> Range:
        """The range for the counted values."""
        ...
