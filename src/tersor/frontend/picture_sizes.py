"""Opens the heights and widths of pictures where nobody asked, if the outputs grow with them.

So do those of detectors and segmenters, which are used on pictures of many sizes. A classifier is
trained for one size; it stays at that, unless the caller asks for others. To find out, the model is
run once with pictures of about half the size.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tersor.errors import CaptureError
from tersor.frontend.axes import BATCH, Axes, named, names_of, only
from tersor.frontend.explain import first_line
from tersor.frontend.exporting import check_same, make_network
from tersor.frontend.given import Inputs, resized, run, sizes_of, tensors
from tersor.frontend.open_axes import check_rows
from tersor.graph.network import Network
from tersor.graph.shapes import is_free

_HEIGHT, _WIDTH, _SMALLEST = 2, 3, 2
_LARGEST_STEP = 32  # what sizes of pictures are multiples of
#: Ops whose ONNX form needs the size of what they read, unless they pool all of it.
_POOLS = (
    torch.ops.aten.adaptive_avg_pool2d.default,
    torch.ops.aten.adaptive_max_pool2d.default,
)


class Pictures(NamedTuple):
    """What is known of the sizes of pictures.

    Attributes:
        network: The captured network; None if all sizes are fixed.
        axes: The axes that are open in it.
        reasons: Name of each axis that the outputs grow with and that is fixed → why.
    """

    network: Network | None
    axes: Axes
    reasons: dict[str, str]


def picture_axes(model: nn.Module, inputs: Inputs) -> Axes:
    """The heights and widths of the pictures among the inputs, which a convolution may read.

    Args:
        model: The model.
        inputs: Its inputs.

    Returns:
        For each tensor: axis → name. Pictures of the same size share their names.
    """
    found = tensors(inputs)
    channels = {module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)}
    shapes = [
        tuple(x.shape[_HEIGHT:])
        if x.is_floating_point()
        and x.ndim == 4
        and x.shape[1] in channels
        and min(x.shape[_HEIGHT:]) >= _SMALLEST
        else None
        for x in found
    ]
    different = list(dict.fromkeys(shape for shape in shapes if shape is not None))
    return tuple({} if shape is None else _names(different.index(shape)) for shape in shapes)


def _names(number: int) -> dict[int, str]:
    end = f"_{number + 1}" if number else ""
    return {_HEIGHT: f"height{end}", _WIDTH: f"width{end}"}


def open_pictures(
    model: nn.Module, expected: Any, inputs: Inputs, axes: Axes, pictures: Axes
) -> Pictures:
    """Capture a model with as many heights and widths open as it takes.

    Args:
        model: The model, in inference mode.
        expected: What it returns for the inputs.
        inputs: The inputs.
        axes: The axes that are open in any case.
        pictures: The heights and widths; see `picture_axes`.
    """
    for names in _choices(names_of(pictures)):
        both = _joined(axes, only(pictures, names))
        other = _elsewhere(model, expected, inputs, both, names)
        if other is None:
            continue
        try:
            return Pictures(_captured(model, expected, inputs, both, other), both, {})
        except Exception as error:  # noqa: BLE001 - then they are fixed
            return Pictures(None, axes, dict.fromkeys(names, first_line(error)))
    return Pictures(None, axes, {})


def _choices(names: list[str]) -> Iterator[list[str]]:
    """All of them; then the widths alone, as for lines of text; then the heights alone."""
    yield names
    yield [name for name in names if name.startswith("width")]
    yield [name for name in names if name.startswith("height")]


def _joined(axes: Axes, more: Axes) -> Axes:
    return tuple({**x, **y} for x, y in zip(axes, more, strict=True))


def _elsewhere(
    model: nn.Module, expected: Any, inputs: Inputs, axes: Axes, names: list[str]
) -> tuple[Inputs, Any] | None:
    """Inputs of other sizes, and what the model returns for them, if it grows with them."""
    own = sizes_of(inputs, axes)
    sizes = {name: _other(own[name], number) for number, name in enumerate(names)}
    with_batch = {**sizes, BATCH: own[BATCH] + 1}  # a detector may remember the last one
    other = resized(inputs, axes, with_batch)
    try:
        wanted = run(model, other)
        check_rows((expected, wanted), inputs, axes, with_batch)
    except Exception:  # noqa: BLE001 - it takes one size only
        return None
    pairs = zip(pytree.tree_leaves(expected), pytree.tree_leaves(wanted), strict=True)
    grows = any(isinstance(x, Tensor) and x.shape[1:] != y.shape[1:] for x, y in pairs)
    return (other, wanted) if grows else None


def _captured(
    model: nn.Module, expected: Any, inputs: Inputs, axes: Axes, other: tuple[Inputs, Any]
) -> Network:
    """Capture with these axes open, and compare with the model at other sizes."""
    network = make_network(model, expected, inputs, axes)
    _check_free(network, axes)
    smaller, wanted = other
    check_same(network, wanted, smaller)
    sizes = sizes_of(smaller, named(axes))
    odd = resized(smaller, axes, {name: size - 1 for name, size in sizes.items()})
    try:
        wanted = run(model, odd)
    except Exception:  # noqa: BLE001 - the model itself takes no such sizes
        return network
    check_same(network, wanted, odd)
    return network


def _other(size: int, number: int) -> int:
    """About half of a size, a multiple of the same power of 2, and another one for each number.

    A quarter of a small size has to be enough: of 32, the multiples of 32 cost more.
    """
    step = min(size & -size, _LARGEST_STEP)
    while size < 2 * _LARGEST_STEP and 1 < step > size // 4:
        step //= 2
    found = max(1, round(size / 2 / step)) * step + number * step
    return found if found not in (size, 1) else size + (number + 1) * step


def _check_free(network: Network, axes: Axes) -> None:
    """Check that `torch.export` left the axes open, each by itself, and that ONNX can have it."""
    shapes = [
        node.meta["val"].shape
        for node in network.graph.find_nodes(op="placeholder")
        if isinstance(node.meta.get("val"), Tensor)
    ]
    for shape, own in zip(shapes, axes, strict=True):
        if not all(is_free(shape[axis]) for axis in own):
            raise CaptureError("torch.export captures this size only")
    found = {
        name: str(shape[axis])
        for shape, own in zip(shapes, axes, strict=True)
        for axis, name in own.items()
    }
    if len({*found.values()}) < len(found) or not all(x.isidentifier() for x in found.values()):
        raise CaptureError("torch.export ties it to the size of another axis")
    for node in network.nodes():
        sizes: Any = node.args[1] if node.target in _POOLS else ()
        if any(size not in (1, None) for size in sizes):
            raise CaptureError(
                f"{node.name!r} pools to {sizes}, which ONNX computes for one size only"
            )
