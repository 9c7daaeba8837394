"""Chooses how many samples weights of 8 bits or more are rounded with: few are enough for these.

Both streams hold a value for every sample, so the widest value says how many there can be. Small
networks, whose layers see few positions in a sample, have all of them.
"""

from collections.abc import Sequence
from math import ceil

from tersor.data.given.pieces import pieces
from tersor.data.given.sample_rows import first_batches, sample_counts
from tersor.data.walk.observe import Batch
from tersor.data.walk.widest import widest
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.quant.placement.place import weight_quantizer


def fewest_bits(network: Network) -> int:
    """The width of the narrowest weights that a kernel computes with; 32 if there are none.

    Args:
        network: A network with quantizers.
    """
    found = (weight_quantizer(layer) for layer in layers(network))
    return min((q.grid.bits for q in found if q is not None and not q.stored_only), default=32)


def enough(
    network: Network, batches: Sequence[Batch], held_back: int, numbers: int
) -> tuple[Sequence[Batch], int]:
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
    most, border = numbers // widest(network), len(batches) - held_back
    judges = first_batches(batches[border:], ceil(most * held_back / len(batches)))
    used = first_batches(batches[:border], most - sum(sample_counts(judges)))
    return [*used, *judges], len(judges)


def in_pieces(
    network: Network, batches: Sequence[Batch], held_back: int
) -> tuple[Sequence[Batch], int]:
    """Cut batches into pieces that take little memory, for a solver that looks at single samples.

    Args:
        network: The network.
        batches: Inputs, as `(args, kwargs)`.
        held_back: Number of batches, the last ones, that are held out.

    Returns:
        The pieces, and how many of them, the last ones, are held out.
    """
    held = len(pieces(network, batches[len(batches) - held_back :])) if held_back else 0
    return pieces(network, batches), held
