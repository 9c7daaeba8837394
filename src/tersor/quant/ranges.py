"""How to choose a range, for weights and for activations: each method with its options."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from tersor.core import histogram
from tersor.core.grid import Grid
from tersor.core.histogram import Histogram
from tersor.core.ranges import minmax, mse, percentile

Range = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class MinMax:
    """The whole range of the values."""

    def __call__(self, x: Tensor, grid: Grid, axis: int | None) -> Range:  # noqa: ARG002
        """Lowest and highest value, per channel of `axis`."""
        return minmax(x, axis)

    def of(self, seen: Histogram, grid: Grid) -> Range:  # noqa: ARG002
        """Lowest and highest value seen."""
        return seen.values[0], seen.values[-1]


@dataclass(frozen=True)
class Percentile:
    """The range without outliers.

    Attributes:
        p: Percent of the values that lie below the high end, and above the low end.
    """

    p: float = 99.99

    def __call__(self, x: Tensor, grid: Grid, axis: int | None) -> Range:  # noqa: ARG002
        """Low and high percentile, per channel of `axis`."""
        return percentile(x, self.p, axis)

    def of(self, seen: Histogram, grid: Grid) -> Range:  # noqa: ARG002
        """Low and high percentile of what was seen."""
        return histogram.percentile(seen, self.p)


@dataclass(frozen=True)
class MSE:
    """The range with the smallest squared rounding error.

    Attributes:
        candidates: Number of clipped ranges tried.
    """

    candidates: int = 100

    def __call__(self, x: Tensor, grid: Grid, axis: int | None) -> Range:
        """The best range on this grid, per channel of `axis`."""
        return mse(x, grid, axis, self.candidates)

    def of(self, seen: Histogram, grid: Grid) -> Range:
        """The best range for what was seen."""
        return histogram.mse(seen, grid, self.candidates)


@dataclass(frozen=True)
class Entropy:
    """The range whose rounded values keep the distribution best: for activations seen on data.

    Attributes:
        candidates: Number of clipped ranges tried.
    """

    candidates: int = 100

    def of(self, seen: Histogram, grid: Grid) -> Range:
        """The best range for what was seen."""
        return histogram.entropy(seen, grid, self.candidates)


RangeMethod = Callable[[Tensor, Grid, int | None], Range]


@runtime_checkable
class ActivationRange(Protocol):
    """Chooses a range for what was counted: `MinMax`, `Percentile`, `MSE` or `Entropy`."""

    def of(self, seen: Histogram, grid: Grid) -> Range:
        """The range for what was seen."""
        ...
