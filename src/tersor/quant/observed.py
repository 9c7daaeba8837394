"""Ranges of activations from data: what a few unlabelled samples bring about in the float network.

    min-max      everything that was seen
    percentile, squared error, entropy: see `tersor.core.histogram`

Samples stream through twice: first for the ends of each activation, then to count in between.
Nothing is kept but the counts, so that any number of samples will do.
"""

from tersor.core.histogram import Counter, Ends
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.graph.stats import Batch, Extremes, observe
from tersor.quant.calibrate import activation_quantizers, cut_by_readers, set_activation
from tersor.quant.ranges import ActivationRange, MinMax


def observed_ranges(
    network: Network,
    batches: list[Batch],
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
    if not batches:
        raise InvalidInputError("there is no batch to calibrate with; give at least one sample")
    wanted = activation_quantizers(network)
    ends = {value: Extremes(quantizer.axis) for value, quantizer in wanted}
    observe(network, batches, ends)
    found = {value: _ends(seen) for value, seen in ends.items()}
    if not isinstance(method, MinMax):
        counters = {value: Counter(*low_high) for value, low_high in found.items()}
        observe(network, batches, counters)
        grids = {value: quantizer.grid for value, quantizer in wanted}
        found = {v: method.of(counter.histogram(), grids[v]) for v, counter in counters.items()}
    samples = sum(_samples(batch) for batch in batches)
    for value, quantizer in wanted:
        low_high = cut_by_readers(network, value, found[value])
        set_activation(network, value, quantizer, low_high, f"range seen on {samples:,} samples")


def _ends(seen: Extremes) -> Ends:
    assert seen.low is not None
    assert seen.high is not None
    return seen.low, seen.high


def _samples(batch: Batch) -> int:
    args, kwargs = batch
    sizes = [len(x) for x in (*args, *kwargs.values()) if getattr(x, "ndim", 0)]
    return max(sizes, default=1)
