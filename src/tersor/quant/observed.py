"""Measures activation ranges on a few unlabelled samples, in the float network.

    min-max      all values that occur; few samples: see `tersor.quant.margin`
    percentile, squared error, entropy: see `tersor.core.histogram`

Samples pass through the network twice: first to find the ends of each activation, then to count in
between. Only the counts are kept, so any number of samples will do.
"""

from collections.abc import Sequence

from torch import fx

from tersor.core.grid import Grid
from tersor.core.histogram import Counter, Ends
from tersor.data.observe import Batch, observe
from tersor.data.pieces import joined
from tersor.data.sample_rows import sample_counts
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.quant.calibrate import activation_quantizers, set_activation
from tersor.quant.margin import SampleExtremes, has_margin
from tersor.quant.quantizer import FakeQuantize
from tersor.quant.range_methods import ActivationRange, MinMax
from tersor.quant.read_range import cut_by_readers
from tersor.quant.scheme import WIDE


def observed_ranges(
    network: Network,
    batches: Sequence[Batch],
    method: ActivationRange = MinMax(),  # noqa: B008
) -> None:
    """Set the range of every activation quantizer from data.

    Args:
        network: Edited in place; the samples run through its float side.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        method: How to choose a range.

    Raises:
        InvalidInputError: There is no batch.
    """
    wanted = activation_quantizers(network)
    found = seen_ranges(network, batches, [(v, quantizer.grid) for v, quantizer in wanted], method)
    what = _what(sum(sample_counts(batches)))
    for (value, quantizer), ends in zip(wanted, found, strict=True):
        set_activation(network, value, quantizer, ends, what)


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
    ends = cut_by_readers(network, value, _seen(value, seen, quantizer.grid), quantizer.grid)
    set_activation(network, value, quantizer, ends, _what(samples))


def _what(samples: int) -> str:
    return f"range measured on {samples:,} samples"


def seen_ranges(
    network: Network,
    batches: Sequence[Batch],
    wanted: Sequence[tuple[fx.Node, Grid]],
    method: ActivationRange,
) -> list[Ends]:
    """Measure the ranges of activations in the float network.

    Args:
        network: The network; its quantizers have no effect.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        wanted: Activations, each with the grid that it is to be rounded to.
        method: How to choose a range.

    Raises:
        InvalidInputError: There is no batch.
    """
    if not batches:
        raise InvalidInputError("there is no batch to calibrate with; give at least one sample")
    extremes = {value: SampleExtremes() for value, _ in wanted}
    observe(network, joined(network, batches), extremes)
    if isinstance(method, MinMax):
        found = [_seen(value, extremes[value], grid) for value, grid in wanted]
    else:
        ends = {value: seen.ends() for value, seen in extremes.items()}
        counters = {value: Counter(*low_high) for value, low_high in ends.items()}
        observe(network, joined(network, batches), counters)
        found = [method.of(counters[value].histogram(), grid) for value, grid in wanted]
    return [
        cut_by_readers(network, value, low_high, grid)
        for (value, grid), low_high in zip(wanted, found, strict=True)
    ]


def _seen(value: fx.Node, seen: SampleExtremes, grid: Grid) -> Ends:
    """With few bits, a finer step is worth more than a value that may come."""
    return seen.widened() if has_margin(value) and grid.bits >= WIDE else seen.ends()
