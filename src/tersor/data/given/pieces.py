"""Cuts batches so small that the values of one pass through a network take little memory.

Memory and caches like small batches, and the time of a pass hardly depends on their size. Where
every sample counts by itself, a batch is cut; what is made of whole batches does without. Batches
of a sample or two take longer, as each node costs some time besides what it computes: they are
joined where it does not matter which samples are in one batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.data.given.sample_rows import SampleRows
from tersor.data.walk.observe import Batch, samples_of
from tersor.data.walk.widest import widest
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
    return _cut_all(batches, _size(network, batches)) if can_be_cut(network) else batches


def joined(network: Network, batches: Sequence[Batch], most: int | None = None) -> Sequence[Batch]:
    """Cut large batches into pieces, and join small ones to pieces, if the network takes any size.

    Args:
        network: The network.
        batches: Inputs, as `(args, kwargs)`. Only samples that can be read again are joined.
        most: Largest number of samples of a piece, if it is to be smaller.

    Returns:
        The pieces in order, as of `pieces`.
    """
    if not can_be_cut(network):
        return batches
    size = _size(network, batches)
    size = size if most is None else min(size, most)
    return batches.joined(size) if isinstance(batches, SampleRows) else _cut_all(batches, size)


def can_be_cut(network: Network) -> bool:
    """Whether the first axis of every input may have any size.

    Args:
        network: The network.
    """
    values = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    shapes = [value.shape for value in values if isinstance(value, torch.Tensor)]
    return all(shape and is_free(shape[0]) for shape in shapes)


def _size(network: Network, batches: Sequence[Batch]) -> int:
    known = batches.widest if isinstance(batches, SampleRows) else None
    return max(1, NUMBERS // (known or widest(network)))


def _cut_all(batches: Sequence[Batch], size: int) -> Sequence[Batch]:
    if isinstance(batches, SampleRows):
        return batches.cut(size)
    return [piece for batch in batches for piece in _cut(batch, size)]


def _cut(batch: Batch, size: int) -> list[Batch]:
    leaves = [x for x in pytree.tree_leaves(batch) if isinstance(x, Tensor)]
    count = samples_of(batch)
    if count <= size or any(not x.ndim or len(x) != count for x in leaves):
        return [batch]
    return [
        pytree.tree_map_only(Tensor, lambda x, at=start: x[at : at + size], batch)
        for start in range(0, count, size)
    ]
