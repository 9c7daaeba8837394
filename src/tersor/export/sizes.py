"""The sizes of a program: ExecuTorch plans memory ahead, so open axes need a largest size."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.export import Dim, ShapesCollection

from tersor.data.given.feeds import input_names
from tersor.errors import InvalidInputError
from tersor.frontend.axes import Axes
from tersor.frontend.given import Inputs, resized, sizes_of, tensors
from tersor.graph.network import Network
from tersor.graph.shapes import is_free

Shape = list[int | str]


@dataclass(frozen=True)
class Sizes:
    """The inputs of a program.

    Attributes:
        inputs: Examples.
        shapes: Name of an input → its shape, with a name for each open axis.
        largest: Name of each open axis → its largest size.
        axes: For each input: axis → name, of the open axes.
    """

    inputs: Inputs
    shapes: dict[str, Shape]
    largest: dict[str, int]
    axes: Axes

    def dynamic(self) -> ShapesCollection:
        """The open axes in the form that `torch.export` takes."""
        found = ShapesCollection()
        sizes = {name: Dim(name, max=size) for name, size in self.largest.items()}
        for x, axes in zip(tensors(self.inputs), self.axes, strict=True):
            if axes:
                found[x] = {axis: sizes[name] for axis, name in axes.items()}
        return found


def sized(network: Network, largest: Mapping[str, int]) -> Sizes:
    """Decide the size of each axis.

    Args:
        network: The network.
        largest: Name of an axis that stays open → its largest size. The batch is 1 otherwise, and
            other axes have the size of the example.

    Raises:
        InvalidInputError: No open axis has this name, or the size is not at least 2.
    """
    names = input_names(network)
    axes = open_axes(network)
    given = network.args, network.kwargs
    for name, size in largest.items():
        known = list(sizes_of(given, axes))
        if name not in known:
            raise InvalidInputError(
                f"largest= names axis {name!r}, which is not open; the open axes are "
                f"{', '.join(map(repr, known)) or 'none'}"
            )
        if size < 2:
            raise InvalidInputError(
                f"largest= gives axis {name!r} the size {size}; give at least 2, or leave it out"
            )
    chosen = {
        name: min(size, largest.get(name, 1 if name == _batch(axes) else size))
        for name, size in sizes_of(given, axes).items()
    }
    kept = tuple({k: name for k, name in found.items() if name in largest} for found in axes)
    inputs = resized(given, axes, chosen)
    shapes = {
        name: [own.get(axis, size) for axis, size in enumerate(x.shape)]
        for name, x, own in zip(names, tensors(inputs), kept, strict=True)
    }
    return Sizes(inputs, shapes, dict(largest), kept)


def _batch(axes: Axes) -> str | None:
    """The name of the batch: the first axis of the first input."""
    return axes[0].get(0) if axes else None


def open_axes(network: Network) -> Axes:
    """Name the open axes of each tensor among the inputs; equal sizes share a name.

    Args:
        network: The network.
    """
    values = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    given = [value for value in values if isinstance(value, Tensor)]
    known = [*network.axes, *[{}] * (len(given) - len(network.axes))]
    names: dict[str, str] = {}
    found = []
    for value, own in zip(given, known, strict=True):
        open_axes = [axis for axis, size in enumerate(value.shape) if is_free(size)]
        for axis in open_axes:
            usual = "batch" if axis == 0 else f"axis_{axis}"
            names.setdefault(str(value.shape[axis]), own.get(axis, usual))
        found.append({axis: names[str(value.shape[axis])] for axis in open_axes})
    return tuple(found)
