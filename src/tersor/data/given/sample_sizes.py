"""Samples too small for a layer: told in one line, with the layer and the smallest size."""

import re
from collections.abc import Iterator
from math import prod

import numpy as np
import torch
from torch import fx

from tersor.data.given.feeds import Arrays, to_batch
from tersor.data.walk.observe import in_order
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network
from tersor.graph.shapes import is_free

_TOO_SMALL = re.compile(r"greater than actual input size|output size is too small|padding size sh")
_LARGEST = 1024  # added to a size at most, to find one that is large enough
Places = dict[str, list[int]]


def check_sizes(network: Network, samples: list[Arrays]) -> None:
    """Run the smallest sample alone, if samples may have several sizes.

    Args:
        network: The captured network.
        samples: All samples, in batches.

    Raises:
        InvalidInputError: It is too small for a layer; names the layer and the smallest size.
    """
    places = _open_places(network, samples[0]) if samples else {}
    if not places:
        return
    few = min(samples, key=lambda arrays: prod(_sizes(arrays, places)))
    node = _too_small_for(network, few)
    if node is None:
        return
    name = Layer(node, network).name if is_layer(node) else node.name
    found = _smallest(network, few, places)
    advice = f"of at least {_shown(found)}" if found else "of a larger size"
    raise InvalidInputError(
        f"samples of {_shown(_sizes(few, places))} are too small for {name!r}, which reads more "
        f"values than are left there; give samples {advice}"
    )


def _open_places(network: Network, arrays: Arrays) -> Places:
    """Input → its open axes after the batch."""
    values = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    shapes = [value.shape for value in values if isinstance(value, torch.Tensor)]
    found = {
        name: [axis for axis, size in enumerate(shape) if axis and is_free(size)]
        for name, shape in zip(arrays, shapes, strict=False)
    }
    return {name: axes for name, axes in found.items() if axes}


def _sizes(arrays: Arrays, places: Places) -> list[int]:
    return [arrays[name].shape[axis] for name, axes in places.items() for axis in axes]


def _shown(sizes: list[int]) -> str:
    return " × ".join(map(str, sizes))


def _smallest(network: Network, few: Arrays, places: Places) -> list[int] | None:
    """The smallest sizes that run, all of them larger by one number."""
    fits = next((more for more in _doubled() if _runs(network, few, places, more)), None)
    if fits is None:
        return None
    low = fits // 2  # does not run
    while fits - low > 1:
        middle = (low + fits) // 2
        if _runs(network, few, places, middle):
            fits = middle
        else:
            low = middle
    return [size + fits for size in _sizes(few, places)]


def _doubled() -> Iterator[int]:
    more = 1
    while more <= _LARGEST:
        yield more
        more *= 2


def _runs(network: Network, few: Arrays, places: Places, more: int) -> bool:
    larger = {}
    for name, array in few.items():
        shape = [n + more * (i in places.get(name, [])) for i, n in enumerate(array.shape)]
        larger[name] = np.zeros(shape, array.dtype)
    return _too_small_for(network, larger) is None


def _too_small_for(network: Network, arrays: Arrays) -> fx.Node | None:
    """The call for which a sample is too small, if there is one."""
    args, kwargs = to_batch(network, arrays)
    runner = _Last(network.module)
    try:
        with torch.no_grad():
            runner.run(*in_order(network, args, kwargs), enable_io_processing=False)
    except RuntimeError as error:
        return runner.node if _TOO_SMALL.search(str(error).lower()) else None
    return None


def one_sample(arrays: Arrays) -> Arrays:
    """The first sample alone, if every input has a row for each; else all of them.

    Args:
        arrays: A batch.
    """
    if len({len(array) if array.ndim else 0 for array in arrays.values()}) > 1:
        return arrays
    return {name: array[:1] for name, array in arrays.items()}


class _Last(fx.Interpreter):
    """Remembers the node that runs.

    Attributes:
        node: The node.
    """

    node: fx.Node | None = None

    def run_node(self, n: fx.Node) -> object:
        self.node = n
        return super().run_node(n)
