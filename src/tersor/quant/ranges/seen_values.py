"""What has been seen of activations of the float network, from which their ranges are chosen.

Samples pass through the network once: the ends and the counts of each value grow with what comes.
Only these are kept, so any number of samples will do, and there may be more of them later.
"""

from collections.abc import Sequence

from torch import Tensor, fx

from tersor.core.grid import Grid
from tersor.core.histogram import Counter, Ends
from tersor.data.given.pieces import joined
from tersor.data.given.sample_rows import sample_counts
from tersor.data.walk.observe import Batch, observe
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.range_methods import ActivationRange, MinMax
from tersor.quant.ranges.calibrate import set_activation
from tersor.quant.ranges.margin import SampleExtremes, has_margin
from tersor.quant.ranges.read_range import cut_by_readers
from tersor.quant.scheme import WIDE


class SeenValues:
    """The ends of some activations, and how often what is between them occurs."""

    def __init__(self, network: Network, values: Sequence[fx.Node], are_counted: bool) -> None:
        """Start with no sample.

        Args:
            network: The network; its quantizers have no effect.
            values: The activations.
            are_counted: Whether other methods than `MinMax` are to choose ranges.
        """
        self._network, self._values = network, {value.name: value for value in values}
        self._seen = {name: _Seen(Counter() if are_counted else None) for name in self._values}
        self._count = 0

    def add(self, batches: Sequence[Batch]) -> None:
        """Run the network on samples.

        Args:
            batches: Unlabelled inputs, as `(args, kwargs)`.
        """
        watchers = {self._values[name]: seen for name, seen in self._seen.items()}
        observe(self._network, joined(self._network, batches), watchers)
        self._count += sum(sample_counts(batches))

    def range(self, name: str, grid: Grid, method: ActivationRange) -> Ends:
        """Choose the range of an activation.

        Args:
            name: Its name.
            grid: What it is to be rounded to.
            method: How to choose a range.

        Raises:
            InvalidInputError: There was no sample.
        """
        if not self._count:
            raise InvalidInputError("there is no batch to calibrate with; give at least one sample")
        value = self._values[name]
        ends = self._seen[name].range(value, grid, method)
        return cut_by_readers(self._network, value, ends, grid)

    def set(
        self,
        network: Network,
        wanted: Sequence[tuple[fx.Node, FakeQuantize]],
        method: ActivationRange,
    ) -> None:
        """Set the ranges of quantizers, and record them.

        Args:
            network: The network, or one with the same values; edited in place.
            wanted: The quantizers, each with the value that it reads.
            method: How to choose a range.
        """
        for value, quantizer in wanted:
            ends = self.range(value.name, quantizer.grid, method)
            set_activation(network, value, quantizer, ends, _what(self._count))


def set_seen(
    network: Network, value: fx.Node, quantizer: FakeQuantize, seen: SampleExtremes, samples: int
) -> None:
    """Set the min-max range of one activation quantizer from what was seen of its value.

    Args:
        network: Edited in place.
        value: The activation.
        quantizer: Its quantizer.
        seen: The ends of its values.
        samples: The number of samples, for the record.
    """
    ends = cut_by_readers(network, value, _whole(value, seen, quantizer.grid), quantizer.grid)
    set_activation(network, value, quantizer, ends, _what(samples))


def _what(samples: int) -> str:
    return f"range measured on {samples:,} samples"


def _whole(value: fx.Node, seen: SampleExtremes, grid: Grid) -> Ends:
    """With few bits, a finer step is worth more than a value that may come."""
    return seen.widened() if has_margin(value) and grid.bits >= WIDE else seen.ends()


class _Seen:
    """What has been seen of one value."""

    def __init__(self, counter: Counter | None) -> None:
        self._extremes, self._counter = SampleExtremes(), counter

    def __call__(self, value: Tensor) -> None:
        self._extremes(value)
        if self._counter is not None:
            self._counter(value)

    def range(self, value: fx.Node, grid: Grid, method: ActivationRange) -> Ends:
        if self._counter is None or isinstance(method, MinMax):
            return _whole(value, self._extremes, grid)
        return method.of(self._counter.histogram(*self._extremes.ends()), grid)
