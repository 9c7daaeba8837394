"""Estimates what compression takes in memory beside the values of all samples.

    bytes = 4 · (4 · weights + 3 · outputs + max(gradients, fits))

Gradients need the values of one batch, those of the layers once for every v of
`tersor.compression.estimate`, and the changed weights; fits need values of one batch, matrices
E[x xᵀ], and sampled patches of the layers that are fitted to what is behind a ReLU.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import fx

from tersor.compression.estimate import DRAWS, ROOM
from tersor.compression.options import Compression
from tersor.data.given.feeds import Data
from tersor.data.given.pieces import NUMBERS
from tersor.data.given.samples import LARGEST, optional_samples
from tersor.data.runs.room import Memory, room_for, values_fit
from tersor.data.walk.observe import Batch
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.widest import numbers, returned
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network

aten = torch.ops.aten
_WEIGHTS, _OUTPUTS = 4, 3  # copies of the network, and of the outputs of what is tried
_VALUES, _MATRICES = 12, 8  # of a batch, and of a layer, that are there at the same time
_BEHIND = 8  # outputs of a layer, at the same time, where it is fitted to what is behind a ReLU


def samples_within(
    network: Network,
    data: Data,
    options: Compression,
    memory: Memory | None,
    folder: str | Path | None,
) -> tuple[Sequence[Batch], Shelf]:
    """Put samples into batches, and make a shelf for their values.

    Args:
        network: The network.
        data: See `tersor.compress`.
        options: See `Compression`.
        memory: See `tersor.compress`.
        folder: Where to make a folder for files.

    Raises:
        InvalidInputError: As for `tersor.data.runs.room.room_for`, and for the samples.
    """
    if data is None:
        return [], Shelf()
    shelf = Shelf(room_for(network, memory, bytes_needed(network, options)), folder)
    batches = optional_samples(network, data, options.samples, shelf, NUMBERS)
    return batches, Shelf() if values_fit(network, batches, shelf.room) else shelf


def bytes_needed(network: Network, options: Compression) -> int:
    """Estimate the bytes that compression takes with the values of all samples in files.

    Args:
        network: The network.
        options: See `Compression`.
    """
    of_values, found = numbers(network), list(layers(network))
    weights = sum(layer.weight.numel() for layer in found)
    outputs = returned(network) * math.ceil(options.tried / 2)
    count = _batch(of_values)
    takes = _gradients(of_values, found, options, count), _fits(of_values, found, options, count)
    return 4 * (_WEIGHTS * weights + _OUTPUTS * outputs + max(takes))


def _batch(of_values: dict[fx.Node, int]) -> int:
    """The samples of a batch, at most."""
    return min(LARGEST, max(1, NUMBERS // max(of_values.values(), default=1)))


def _gradients(
    of_values: dict[fx.Node, int], found: list[Layer], options: Compression, count: int
) -> int:
    """What is there with the gradients of one batch, and with the changed weights."""
    sizes = [layer.weight.numel() for layer in found]
    written = sum(of_values.get(layer.node, 0) for layer in found)
    draws = min(DRAWS[1] * count, DRAWS[0] * LARGEST)  # few samples are pulled at more often
    ways = len(options.ratios) * (len(options.decompositions) + 1)
    changed = min(ROOM, ways * sum(sizes)) + ways * max(sizes, default=0)
    each = 3 * count * max(sizes, default=0)  # gradients with respect to the weight, by sample
    return 2 * count * sum(of_values.values()) + draws * written + changed + each


def _fits(
    of_values: dict[fx.Node, int], found: list[Layer], options: Compression, count: int
) -> int:
    """What is there while one layer is fitted."""
    squares = (groups * math.prod(rest) ** 2 for groups, _, *rest in _shapes(found))
    values = _VALUES * max(NUMBERS, count * max(of_values.values(), default=0))
    patches = (_behind_relu(of_values, layer, options) for layer in found)
    return values + _MATRICES * max(squares, default=0) + max(patches, default=0)


def _shapes(found: list[Layer]) -> list[torch.Size]:
    return [layer.grouped_weight().shape for layer in found if not layer.computed]


def _behind_relu(of_values: dict[fx.Node, int], layer: Layer, options: Compression) -> int:
    """Patches and outputs of a layer that is fitted to the outputs of a ReLU."""
    readers = {user.target for user in layer.node.users}
    if not (options.decompositions and options.refit.relu and readers == {aten.relu.default}):
        return 0
    written, inputs = len(layer.weight), layer.weight[0].numel()
    places = math.ceil(of_values.get(layer.node, 0) / written) * options.samples
    positions = min(places, options.refit.positions(layer, 1))
    return positions * (2 * inputs + _BEHIND * written)
