"""Chooses how many samples weights of 8 bits or more are rounded with: few are enough for these.

Both streams hold a value for every sample, so the widest value says how many there can be. Small
networks, whose layers see few positions in a sample, have all of them.
"""

from collections.abc import Iterator, Sequence
from math import ceil

import torch

from tersor.data.observe import Batch, samples_of
from tersor.graph.costs import batch_size
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.graph.shapes import shapes
from tersor.quant.place import weight_quantizer


def fewest_bits(network: Network) -> int:
    """The width of the narrowest weights that a kernel computes with; 32 if there are none.

    Args:
        network: A network with quantizers.
    """
    found = (weight_quantizer(layer) for layer in layers(network))
    return min((q.grid.bits for q in found if q is not None and not q.stored_only), default=32)


def enough(
    network: Network, batches: Sequence[Batch], held_back: int, numbers: int
) -> tuple[list[Batch], int]:
    """Choose the first batches to round with, and the first of those that are held out.

    Args:
        network: The network.
        batches: Inputs, as `(args, kwargs)`.
        held_back: Number of batches, the last ones, that are held out.
        numbers: How many numbers the widest value may have, all samples together; a batch of
            either kind is taken in any case.

    Returns:
        The batches, and how many of them, the last ones, are held out.
    """
    most, border = numbers // _widest(network), len(batches) - held_back
    judges = _first(batches[border:], ceil(most * held_back / len(batches)))
    used = _first(batches[:border], most - sum(map(samples_of, judges)))
    return [*used, *judges], len(judges)


def _widest(network: Network) -> int:
    """Numbers of the widest value for one sample."""
    computed = ((n, shape) for n, shape in shapes(network).items() if n.op != "get_attr")
    sizes = [shape.numel() for _, shape in computed if isinstance(shape, torch.Size)]
    return max(1, max(sizes, default=1) // batch_size(network))


def _first(batches: Sequence[Batch], samples: int) -> list[Batch]:
    """The first batches that hold so many samples together; one at least, if there is one."""

    def taken() -> Iterator[Batch]:
        count = 0
        for batch in batches:
            yield batch
            count += samples_of(batch)
            if count >= samples:
                return

    return list(taken())
