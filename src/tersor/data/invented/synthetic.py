"""Generates random inputs in the shapes of the example inputs."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.core.whole_range import whole_range
from tersor.data.invented.dead_leaves import dead_leaves
from tersor.data.walk.observe import Batch
from tersor.frontend.drawn import draw
from tersor.graph.network import Network
from tersor.graph.nodes import source

_COLOURS = (1, 3, 4)
_SMALLEST_PICTURE = 16


@dataclass(frozen=True)
class Synthetic:
    """Options of random inputs.

    Attributes:
        batches: Number of batches, each of the example's size.
        seed: Seed of the random numbers.
        margin: Share by which ranges measured on them are widened away from zero.
    """

    batches: int = 8
    seed: int = 0
    margin: float = 0.05


def example_inputs(network: Network) -> dict[str, Any]:
    """Input name → example value, in the order of the graph's inputs."""
    names = [node.name for node in network.graph.nodes if node.op == "placeholder"]
    return dict(zip(names, pytree.tree_leaves((network.args, network.kwargs)), strict=True))


def example_tensors(network: Network) -> dict[str, Tensor]:
    """Input name → example value, for the inputs that are tensors."""
    return {name: x for name, x in example_inputs(network).items() if isinstance(x, Tensor)}


def random_example(
    shapes: Sequence[Sequence[int]],
    input_range: tuple[float, float] | None = None,
    seed: int = 0,
    types: Sequence[torch.dtype] = (),
    rows: Sequence[int | None] = (),
) -> tuple[Tensor, ...]:
    """Generate example inputs when only the shapes are known.

    Args:
        shapes: One shape per input.
        input_range: Smallest and largest value; see `tersor.frontend.drawn.draw`.
        seed: Seed of the random numbers.
        types: One dtype per input, if known; float32 by default.
        rows: Per input the rows of the table in which it is looked up; None for any other.
    """
    generator = torch.Generator().manual_seed(seed)
    known = [*types, *[torch.float32] * (len(shapes) - len(types))]
    limits = [*rows, *[None] * (len(shapes) - len(rows))]
    return tuple(
        draw(shape, dtype, input_range, generator, limit)
        for shape, dtype, limit in zip(shapes, known, limits, strict=False)
    )


def synthetic_batches(
    network: Network,
    options: Synthetic,
    input_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Iterator[Batch]:
    """Generate random inputs in the shapes, and with the statistics, of the example inputs.

    Floating-point inputs and 8-bit integers are Gaussian with the example's mean and standard
    deviation, clipped to their range if it is given, or to that of the 8 bits. Pictures have things
    in front of each other. Token numbers, which are integers that an embedding looks up, are
    uniform over the rows of its table. Wider integers of zeros and ones are masks: they stay as in
    the example, as does anything that is not a number. Other integers are uniform between the
    example's smallest and largest value, or within their range if it is given.

    Args:
        network: The network.
        options: See `Synthetic`.
        input_ranges: Input name → smallest and largest value.
    """
    generator = torch.Generator().manual_seed(options.seed)
    rows = vocabularies(network)
    limits = [
        (0.0, rows[name] - 1.0) if name in rows else (input_ranges or {}).get(name)
        for name in example_inputs(network)
    ]
    indices = looked_up(network)
    tokens = [name in indices for name in example_inputs(network)]
    leaves, structure = pytree.tree_flatten((network.args, dict(network.kwargs)))
    for _ in range(options.batches):
        parts = zip(leaves, limits, tokens, strict=True)
        drawn = [
            _draw_indices(x, limit, generator) if is_token else _draw(x, limit, generator)
            for x, limit, is_token in parts
        ]
        yield pytree.tree_unflatten(drawn, structure)


def vocabularies(network: Network) -> dict[str, int]:
    """Input name → number of rows of the smallest table that it is looked up in."""
    found: dict[str, int] = {}
    for start, lookup, index in _lookups(network, _moves):
        rows = _rows(network, lookup, index)
        if rows is not None:
            found[start.name] = min(rows, found.get(start.name, rows))
    return found


#: Ops that look values up → the position of the argument that says where.
_LOOKUPS = {
    torch.ops.aten.embedding.default: 1,
    torch.ops.aten.index_select.default: 2,
    torch.ops.aten.gather.default: 2,
    torch.ops.aten.index.Tensor: 1,
}


aten = torch.ops.aten
_MOVES = {
    *(aten._to_copy.default, aten.to.dtype, aten.clone.default, aten.contiguous.default),
    *(aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.expand.default),
    *(aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.permute.default),
    *(aten.transpose.int, aten.slice.Tensor, aten.select.int),
}


def looked_up(network: Network) -> set[str]:
    """Names of the integer inputs that say where to look something up, such as token numbers."""
    return {start.name for start, *_ in _lookups(network, lambda user, _: _is_whole(user))}


def _lookups(
    network: Network, follow: Callable[[fx.Node, fx.Node], bool]
) -> Iterator[tuple[fx.Node, fx.Node, fx.Node]]:
    """Each lookup that is reached from an input: the input, the lookup, and its index."""
    for start in network.graph.find_nodes(op="placeholder"):
        reached, pending = {start}, [start]
        while pending:
            node = pending.pop()
            readers = [user for user in node.users if user not in reached]
            yield from ((start, user, node) for user in node.users if _looks_up(user, node))
            followed = [user for user in readers if follow(user, node)]
            reached.update(followed)
            pending += followed


def _moves(user: fx.Node, node: fx.Node) -> bool:
    """Whether a call passes integers on; those of ONNX files may count from the end."""
    if user.target is torch.ops.aten.where.self:
        return user.args[2] is node
    return user.target in _MOVES and user.args[0] is node and _is_whole(user)


def _rows(network: Network, lookup: fx.Node, index: fx.Node) -> int | None:
    """The size of a stored table along the axis of the index; None if it is not stored."""
    table, place = source(lookup.args[0]), lookup.args[1]  # type: ignore[arg-type]
    if table.op != "get_attr":
        return None
    if isinstance(place, list | tuple):
        axis = place.index(index)
    else:
        axis = place if isinstance(place, int) else 0
    return network.tensor(table).shape[axis]


def _looks_up(user: fx.Node, index: fx.Node) -> bool:
    place = _LOOKUPS.get(user.target)  # type: ignore[call-overload]
    if place is None or len(user.args) <= place:
        return False
    where = user.args[place]
    return index in where if isinstance(where, list | tuple) else index is where


def _is_whole(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.dtype is torch.bool:
        return False
    return not (value.is_floating_point() or value.is_complex())


def _draw(example: Any, limits: tuple[float, float] | None, generator: torch.Generator) -> Any:
    if not isinstance(example, Tensor) or example.dtype == torch.bool or example.is_complex():
        return example
    whole = whole_range(example.dtype)
    if not example.is_floating_point() and whole is None:
        return _draw_indices(example, limits, generator)
    limits = limits or whole
    like = example if whole is None else example.float()
    mean, std = _moments(like, limits)
    value = _noise(like.shape, generator).to(like) * std + mean
    value = value if limits is None else value.clamp(*limits)
    return value if whole is None else value.round().to(example)


def is_picture_shape(shape: Sequence[int]) -> bool:
    """Whether values of a shape are probably pictures: 1, 3 or 4 colours, at least 16 pixels wide.

    Args:
        shape: The shape, with the batch first and the colours second.
    """
    return len(shape) == 4 and shape[1] in _COLOURS and min(shape[2:]) >= _SMALLEST_PICTURE


def is_picture(value: object) -> bool:
    """Whether a value is a tensor of pictures in floating point.

    Args:
        value: Anything that a network takes.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    return is_picture_shape(value.shape)


def pictures(batches: Iterable[Batch]) -> list[Tensor]:
    """All pictures among inputs.

    Args:
        batches: Inputs, as `(args, kwargs)`.
    """
    return [x for x in pytree.tree_leaves(list(batches)) if is_picture(x)]


def _draw_indices(
    example: Tensor, limits: tuple[float, float] | None, generator: torch.Generator
) -> Tensor:
    low, high = (int(x) for x in limits or example.long().aminmax())
    if limits is None and 0 <= low <= high <= 1:
        return example
    return torch.randint(low, high + 1, example.shape, generator=generator).to(example)


def _moments(example: Tensor, limits: tuple[float, float] | None) -> tuple[Any, Any]:
    """The mean and deviation to draw with.

    Of an example outside its range, or of a single value, only the shape counts.
    """
    std = example.std(correction=0)
    is_inside = limits is None or (limits[0] <= example.min() and example.max() <= limits[1])
    if limits is not None and not (is_inside and std > 0):
        low, high = limits
        return (low + high) / 2, (high - low) / math.sqrt(12)
    return example.mean(), torch.where(std > 0, std, 1.0)


def _noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw numbers about 0 with a deviation of about 1: white noise, or dead leaves for pictures.

    White noise has hardly any low frequencies, and noise with the spectrum of photographs has no
    edges, so a network without BatchNorm statistics would get ranges far below those on real
    pictures.
    """
    if not is_picture_shape(shape):
        return torch.randn(shape, generator=generator)
    count, colours, height, width = shape
    return dead_leaves(count, colours, height, width, generator)
