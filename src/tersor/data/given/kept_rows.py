"""Keeps samples so that they can be read again: where they are, in memory, or in files."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.data.given.feeds import Arrays, as_array
from tersor.data.given.sample_rows import Part
from tersor.data.walk.shelf import Item, Shelf

_MOST = 1 << 28  # bytes of samples in memory that a user does not hold there
_SHARE = 4  # of the room on the shelf, they take at most one part in so many


class Keeper:
    """Keeps the samples of one run."""

    def __init__(self, shelf: Shelf) -> None:
        """Start with nothing.

        Args:
            shelf: Holds what is small in memory, and the rest in files.
        """
        self._shelf, self._held = shelf, 0
        self._most = _MOST if shelf.room is None else min(_MOST, shelf.room // _SHARE)

    def part(
        self,
        arrays: Arrays,
        count: int,
        again: Callable[[int, int], Arrays] | None = None,
        stays: bool = False,
    ) -> Part:
        """Keep samples.

        Args:
            arrays: The samples, an array for each input.
            count: Their number.
            again: Reads some of them again from where they came from, if that is possible.
            stays: Whether the user holds them in memory in any case.
        """
        if stays:
            return Part(count, partial(_rows, arrays))
        size = sum(array.nbytes for array in arrays.values())
        is_small = self._held + size <= self._most
        if not is_small and again is not None:
            return Part(count, again)
        self._held += size if is_small else 0
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        kept = {name: self._shelf.put(x, in_file=not is_small) for name, x in tensors.items()}
        return Part(count, partial(_items, self._shelf, kept))


def is_part_of(batch: Any, arrays: Arrays) -> bool:
    """Whether arrays lie in the memory of a batch: they are no copies, as of other types.

    Args:
        batch: What the user gave.
        arrays: What was made of it.
    """
    leaves = (x for x in pytree.tree_leaves(batch) if isinstance(x, Tensor | np.ndarray))
    given = [as_array(x) for x in leaves]
    return all(any(np.may_share_memory(x, y) for y in given) for x in arrays.values())


def _rows(arrays: Arrays, start: int, end: int) -> Arrays:
    return {name: array[start:end] if array.ndim else array for name, array in arrays.items()}


def _items(shelf: Shelf, items: Mapping[str, Item], start: int, end: int) -> Arrays:
    """Rows of what is kept on a shelf, which lives as long as they can be read."""
    del shelf
    return {name: item.rows(start, end).numpy() for name, item in items.items()}
