"""Cuts batches so small that the values of one pass through a network take little memory.

Memory and caches like small batches, and the time of a pass hardly depends on their size. Where
every sample counts by itself, a batch is cut; what is made of whole batches does without. Batches
of a sample or two take longer, as each node costs some time besides what it computes: they are
joined where it does not matter which samples are in one batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.data.observe import Batch, samples_of
from tersor.data.sample_rows import SampleRows
from tersor.data.widest import widest
from tersor.graph.network import Network
from tersor.graph.shapes import is_free

NUMBERS = 2_500_000  # of the widest value, for one piece; one sample may have more


def pieces(network: Network, batches: Sequence[Batch]) -> Sequence[Batch]:
    """Cut batches into pieces, if the network takes batches of any size.

    Args:
        network: The network.
        batches: Inputs, as `(args, kwargs)`.

    Returns:
        The pieces in order: views of the batches, or read when they are asked for.
    """
    if not can_be_cut(network):
        return batches
    size = max(1, NUMBERS // widest(network))
    if isinstance(batches, SampleRows):
        return batches.cut(size)
    return [piece for batch in batches for piece in _cut(batch, size)]


def joined(network: Network, batches: Sequence[Batch], most: int | None = None) -> Iterator[Batch]:
    """Cut large batches into pieces, and join small ones to pieces, if the network takes any size.

    Args:
        network: The network.
        batches: Inputs, as `(args, kwargs)`.
        most: Largest number of samples of a piece, if it is to be smaller.

    Yields:
        The pieces, in order: views of large batches, copies of small ones.
    """
    if not can_be_cut(network):
        yield from batches
        return
    size, waiting = max(1, NUMBERS // widest(network)), list[Batch]()
    size = size if most is None else min(size, most)
    for batch in batches:
        count = sum(map(samples_of, [*waiting, batch]))
        if waiting and (count > size or not _are_alike(waiting[-1], batch)):
            yield from _cut(_concatenated(waiting), size)
            waiting = []
        waiting.append(batch)
    if waiting:
        yield from _cut(_concatenated(waiting), size)


def can_be_cut(network: Network) -> bool:
    """Whether the first axis of every input may have any size.

    Args:
        network: The network.
    """
    values = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    shapes = [value.shape for value in values if isinstance(value, torch.Tensor)]
    return all(shape and is_free(shape[0]) for shape in shapes)


def _cut(batch: Batch, size: int) -> list[Batch]:
    leaves = [x for x in pytree.tree_leaves(batch) if isinstance(x, Tensor)]
    count = samples_of(batch)
    if count <= size or any(not x.ndim or len(x) != count for x in leaves):
        return [batch]
    return [
        pytree.tree_map_only(Tensor, lambda x, at=start: x[at : at + size], batch)
        for start in range(0, count, size)
    ]


def _are_alike(first: Batch, second: Batch) -> bool:
    """Whether two batches hold samples of the same kind and nothing else."""
    return _kind(first) == _kind(second) is not None


def _kind(batch: Batch) -> tuple[object, ...] | None:
    """The structure of the samples of a batch; None if it also holds what all of them share."""
    (leaves, structure), count = pytree.tree_flatten(batch), samples_of(batch)
    if any(not isinstance(x, Tensor) or not x.ndim or len(x) != count for x in leaves):
        return None
    return structure, *((x.shape[1:], x.dtype) for x in leaves)


def _concatenated(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    leaves = zip(*map(pytree.tree_leaves, batches), strict=True)
    structure = pytree.tree_structure(batches[0])
    return pytree.tree_unflatten([torch.cat(values) for values in leaves], structure)
