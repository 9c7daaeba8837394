"""Removes channels from a network: shortens tensors, and adjusts numbers written into calls.

A captured graph contains sizes as numbers: those of reshapes, the positions where values are split,
the channels that padding adds, the number of groups of a depthwise layer. All of them follow from
the channels that remain of each value.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, fx

from tersor.channels.removal import Removal, Slots
from tersor.graph.network import Gaussian, Network
from tersor.graph.nodes import argument, operand, set_argument
from tersor.graph.ops import CONVOLUTIONS, TRANSPOSED, padding_per_axis

aten = torch.ops.aten
Remaining = tuple[int, Bool[Tensor, " places"]]  # an axis, and the channels that are left along it


def narrow(network: Network, found: Removal, keep: Bool[Tensor, " classes"]) -> None:
    """Remove classes of channels.

    Args:
        network: Edited in place.
        found: The classes, from `tersor.channels.removal.removal` of this network.
        keep: The classes that stay; these must include frozen ones and one of each `found.needs`.
    """
    for node, value in found.values.items():
        if node.target in BY_INPUT and (
            left := what_is_left(found.values.get(operand(node)), keep)
        ):
            BY_INPUT[node.target](node, left)
        if node.target in BY_RESULT and (left := what_is_left(value, keep)):
            BY_RESULT[node.target](node, left)
    for (name, axis), mask in _cuts(found, keep).items():
        _cut(network, name, axis, mask)
    for node, value in found.values.items():
        _note(network, node, value, keep)
    network.finish()


def what_is_left(value: Any, keep: Bool[Tensor, " classes"]) -> Any:
    """Find the axis and the mask of a value, or of each part of it; None if all of it stays.

    Args:
        value: Where its channels lie, from `Removal.values`.
        keep: The classes that stay.
    """
    if isinstance(value, list | tuple):
        parts = [what_is_left(part, keep) for part in value]
        return None if all(part is None for part in parts) else parts
    if not isinstance(value, Slots):
        return None
    mask = keep[value.classes]
    return None if bool(mask.all()) else (value.axis, mask)


def _cuts(found: Removal, keep: Bool[Tensor, " classes"]) -> dict[tuple[str, int], Tensor]:
    """The name and axis of each stored tensor that shrinks, and what remains along the axis."""
    masks = {(str(s.node.target), s.axis): keep[s.channels] for s in found.stored}
    return {place: mask for place, mask in masks.items() if not bool(mask.all())}


def _cut(network: Network, name: str, axis: int, mask: Bool[Tensor, " places"]) -> None:
    nodes = [n for n in network.graph.find_nodes(op="get_attr") if n.target == name]
    old = network.tensor(nodes[0]).detach()
    value = old.index_select(axis, mask.nonzero().flatten().to(old.device))
    network.replace_tensor(nodes[0], value)
    for node in nodes:
        if isinstance(seen := node.meta.get("val"), Tensor):
            node.meta["val"] = seen.new_empty(value.shape)


def _note(network: Network, node: fx.Node, value: Any, keep: Bool[Tensor, " classes"]) -> None:
    """Update the known shape of a node, and its statistics."""
    left, seen = what_is_left(value, keep), node.meta.get("val")
    if isinstance(left, list) and isinstance(seen, list | tuple):
        node.meta["val"] = type(seen)(map(_shorter, seen, left))
    elif isinstance(left, tuple):
        node.meta["val"] = _shorter(seen, left)
        notes = network.statistics.get(node.name)
        if notes is not None:
            mask = left[1].to(notes.mean.device)
            network.statistics[node.name] = Gaussian(notes.mean[mask], notes.std[mask])


def _shorter(seen: Any, left: Remaining | None) -> Any:
    if left is None or not isinstance(seen, Tensor):
        return seen
    axis, mask = left
    sizes = list(seen.shape)
    sizes[axis] = sizes[axis] * int(mask.sum()) // len(mask)
    return seen.new_empty(sizes)


# --- numbers that follow from what is left of the input ------------------------------------------


def _groups(node: fx.Node, left: Remaining) -> None:
    """A depthwise layer has as many groups as inputs."""
    if argument(node, "groups") == len(left[1]):
        set_argument(node, "groups", int(left[1].sum()))


def _split(node: fx.Node, left: Remaining) -> None:
    """Split: parts of equal size may become parts of different sizes."""
    if (mask := _along(node, left)) is not None:
        sizes = [int(part.shape[_axis(node)]) for part in node.meta["val"]]
        kept = [int(part.sum()) for part in mask.split(sizes)]
        node.target = aten.split_with_sizes.default
        node.args, node.kwargs = (operand(node), kept, _axis(node)), {}


def _slice(node: fx.Node, left: Remaining) -> None:
    if (mask := _along(node, left)) is not None:
        ends = slice(argument(node, "start"), argument(node, "end")).indices(len(mask))
        for name, end in zip(("start", "end"), ends[:2], strict=True):
            set_argument(node, name, int(mask[:end].sum()))


def _narrow(node: fx.Node, left: Remaining) -> None:
    if (mask := _along(node, left)) is not None:
        start = argument(node, "start") % len(mask)
        inside = mask[start : start + argument(node, "length")]
        set_argument(node, "start", int(mask[:start].sum()))
        set_argument(node, "length", int(inside.sum()))


def _select(node: fx.Node, left: Remaining) -> None:
    if (mask := _along(node, left)) is not None:
        set_argument(node, "index", int(mask[: argument(node, "index") % len(mask)].sum()))


def _axis(node: fx.Node) -> int:
    """The axis that a call names, counted from the front."""
    return argument(node, "dim") % operand(node).meta["val"].ndim


def _along(node: fx.Node, left: Remaining) -> Bool[Tensor, " places"] | None:
    """What remains along the axis that a call names, if something is removed there."""
    return left[1] if left[0] == _axis(node) else None


# --- numbers that follow from what is left of the result -----------------------------------------


def _reshape(node: fx.Node, left: Remaining) -> None:
    _resize(node, "shape", 0, left)


def _expand(node: fx.Node, left: Remaining) -> None:
    _resize(node, "size", 0, left)


def _unflatten(node: fx.Node, left: Remaining) -> None:
    _resize(node, "sizes", _axis(node), left)


def _resize(node: fx.Node, name: str, first: int, left: Remaining) -> None:
    """Adjust a list of sizes, the first of which belongs to a given axis of the result."""
    sizes, place = list(argument(node, name)), left[0] - first
    if 0 <= place < len(sizes) and sizes[place] != -1:
        is_computed = isinstance(sizes[place], fx.Node)
        sizes[place] = -1 if is_computed else int(left[1].sum())
        set_argument(node, name, sizes)


def _pad(node: fx.Node, left: Remaining) -> None:
    """Adjust the number of channels that padding adds at either end."""
    axis = left[0] - operand(node).meta["val"].ndim
    before, after = padding_per_axis(node).get(axis, (0, 0))
    if before or after:
        mask, pad = left[1], list(argument(node, "pad"))
        ends = mask[:before], mask[len(mask) - after :]
        pad[-2 * axis - 2 : -2 * axis] = [int(end.sum()) for end in ends]
        set_argument(node, "pad", pad)


BY_INPUT: dict[Any, Callable[[fx.Node, Remaining], None]] = {
    **dict.fromkeys(CONVOLUTIONS | TRANSPOSED, _groups),
    **dict.fromkeys((aten.chunk.default, aten.split.Tensor), _split),
    aten.split_with_sizes.default: _split,
    aten.slice.Tensor: _slice,
    aten.narrow.default: _narrow,
    aten.select.int: _select,
}
BY_RESULT: dict[Any, Callable[[fx.Node, Remaining], None]] = {
    aten.reshape.default: _reshape,
    aten.expand.default: _expand,
    aten.unflatten.int: _unflatten,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: _pad,
}
