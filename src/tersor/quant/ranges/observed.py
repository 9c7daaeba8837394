"""Measures activation ranges on a few unlabelled samples, in the float network.

    min-max      all values that occur; few samples: see `tersor.quant.ranges.margin`
    percentile, squared error, entropy: see `tersor.core.histogram`

See `tersor.quant.ranges.seen_values`.
"""

from collections.abc import Sequence

from torch import fx

from tersor.core.grid import Grid
from tersor.core.histogram import Ends
from tersor.data.walk.observe import Batch
from tersor.graph.network import Network
from tersor.quant.range_methods import ActivationRange, MinMax
from tersor.quant.ranges.calibrate import activation_quantizers
from tersor.quant.ranges.seen_values import SeenValues


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
    seen = seen_values(network, batches, [value for value, _ in wanted], method)
    seen.set(network, wanted, method)


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
    seen = seen_values(network, batches, [value for value, _ in wanted], method)
    return [seen.range(value.name, grid, method) for value, grid in wanted]


def seen_values(
    network: Network,
    batches: Sequence[Batch],
    values: Sequence[fx.Node],
    method: ActivationRange,
) -> SeenValues:
    """Run the float network on samples, and keep what a method needs to choose ranges.

    Args:
        network: The network; its quantizers have no effect.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        values: The activations.
        method: How ranges will be chosen.
    """
    seen = SeenValues(network, values, are_counted=not isinstance(method, MinMax))
    seen.add(batches)
    return seen
