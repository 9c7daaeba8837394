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
from tersor.quant.ranges.margin import SampleExtremes, as_it_lies, has_margin
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
        self._seen = {name: Seen(are_counted) for name in self._values}
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
        return self._seen[name].range(self._network, value, grid, method)

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


class Seen:
    """What has been seen of one value: its ends, batch by batch, and how often it is where."""

    def __init__(self, is_counted: bool) -> None:
        """Start with no batch.

        Args:
            is_counted: Whether another method than `MinMax` is to choose its range.
        """
        self._extremes = dict[int, SampleExtremes]()
        self._counter = Counter() if is_counted else None

    def __call__(self, value: Tensor, batch: int | None = None) -> None:
        """Add a batch.

        Args:
            value: The value.
            batch: The number of the batch, if batches come in another order.
        """
        value = as_it_lies(value)
        seen = self._extremes[len(self._extremes) if batch is None else batch] = SampleExtremes()
        seen(value)
        if self._counter is not None:
            self._counter(value)

    def range(self, network: Network, value: fx.Node, grid: Grid, method: ActivationRange) -> Ends:
        """Choose a range.

        Args:
            network: The network.
            value: The value in it.
            grid: What it is to be rounded to.
            method: How to choose a range.
        """
        extremes = SampleExtremes.joined(self._extremes[batch] for batch in sorted(self._extremes))
        if self._counter is None or isinstance(method, MinMax):
            ends = _whole(value, extremes, grid)
        else:
            ends = method.of(self._counter.histogram(*extremes.ends()), grid)
        return cut_by_readers(network, value, ends, grid)


def set_seen(
    network: Network,
    value: fx.Node,
    quantizer: FakeQuantize,
    seen: Seen,
    method: ActivationRange,
    samples: int,
) -> None:
    """Set the range of one activation quantizer from what was seen of its value.

    Args:
        network: Edited in place.
        value: The activation.
        quantizer: Its quantizer.
        seen: What was seen.
        method: How to choose a range.
        samples: The number of samples, for the record.
    """
    ends = seen.range(network, value, quantizer.grid, method)
    set_activation(network, value, quantizer, ends, _what(samples))


def _what(samples: int) -> str:
    return f"range measured on {samples:,} samples"


def _whole(value: fx.Node, seen: SampleExtremes, grid: Grid) -> Ends:
    """With few bits, a finer step is worth more than a value that may come."""
    return seen.widened() if has_margin(value) and grid.bits >= WIDE else seen.ends()
