"""Keeps values in memory as long as there is room, and in files from then on.

What comes back from a file is what was put there, to the bit and with the same strides, so a result
does not depend on the room. A value is gone as soon as nothing refers to it any more.
"""

import mmap
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.core.codes import Codes
from tersor.errors import ExportError
from tersor.files import temporary_folder

_SMALL = 1 << 16  # bytes; a smaller value stays where it is


class Item:
    """One value on a shelf.

    Attributes:
        shape: Its shape, if it is a tensor.
    """

    def __init__(
        self,
        read: Callable[[], Any],
        shape: torch.Size | None,
        some: Callable[[int, int], Tensor] | None = None,
    ) -> None:
        self._read, self.shape, self._some = read, shape, some

    def value(self) -> Any:
        """The value."""
        found = self._read()
        return found.value() if isinstance(found, Codes) else found

    def kept(self) -> Any:
        """The value as it was put there."""
        return self._read()

    def rows(self, start: int, end: int) -> Tensor:
        """Some rows of a tensor, or a number as it is; of a file nothing else is read.

        Args:
            start: The first row.
            end: The row after the last one.
        """
        if not self.shape:
            return self.value()
        return self.value()[start:end] if self._some is None else self._some(start, end)


class Shelf:
    """The values of a run.

    Attributes:
        room: Bytes that may be held in memory; None for any number, which are not copied then.
        held: Bytes in memory now.
        most: The most that were ever held in memory.
        spilled: Bytes that were written to files so far.
    """

    def __init__(self, room: int | None = None, folder: str | Path | None = None) -> None:
        """Set up an empty shelf.

        Args:
            room: See `Shelf`.
            folder: Where to make a folder for files. Default: that of the system for such files.
        """
        self.room, self.held, self.most, self.spilled = room, 0, 0, 0
        self._parent, self._folder, self._names = folder, None, count()

    def put(self, value: Any, in_file: bool = False) -> Item:
        """Keep a value: a tensor, `Codes`, or anything else, which stays as it is.

        Args:
            value: The value.
            in_file: Whether it goes to a file though there is room.

        Raises:
            ExportError: There is no room, and no file can be written.
        """
        tensor = value.integers if isinstance(value, Codes) else value
        shape = tensor.shape if isinstance(tensor, Tensor) else None
        size = sum(x.nbytes for x in pytree.tree_leaves(tensor) if isinstance(x, Tensor))
        if not _is_dense(tensor) or size < _SMALL or (self.room is None and not in_file):
            item = Item(lambda: value, shape)
        elif self.room is not None and self.held + size <= self.room and not in_file:
            pages = _in_pages(tensor)
            kept = replace(value, integers=pages) if isinstance(value, Codes) else pages
            item = Item(lambda: kept, shape)
        else:
            return self._in_file(value, tensor)
        self.held += size
        self.most = max(self.most, self.held)
        weakref.finalize(item, self._give_back, size)
        return item

    def _give_back(self, size: int) -> None:
        self.held -= size

    def _in_file(self, value: Any, tensor: Tensor) -> Item:
        path, shape = self._path(), tensor.shape
        file = _File(path, tensor.dtype, tensor.shape, tensor.stride())
        try:
            file.write(tensor)
        except OSError as error:
            raise ExportError(
                f"there is no room for {tensor.nbytes:,} bytes in {str(path.parent)!r} ({error}): "
                "give a folder= on a larger disk, more memory=, or fewer samples="
            ) from error
        self.spilled += tensor.nbytes
        if isinstance(value, Codes):
            bare = replace(value, integers=tensor.new_empty(0))
            item = Item(lambda: replace(bare, integers=file.read()), shape)
        else:
            item = Item(file.read, shape, file.rows if tensor.is_contiguous() else None)
        weakref.finalize(item, self._remove, path)
        return item

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _path(self) -> Path:
        if self._folder is None:
            stack = ExitStack()
            try:
                if self._parent is not None:
                    Path(self._parent).mkdir(parents=True, exist_ok=True)
                self._folder = stack.enter_context(temporary_folder(self._parent))
            except OSError as error:
                raise ExportError(
                    f"{str(self._parent or 'the folder for temporary files')!r} cannot keep files "
                    f"({error}): give another folder=, more memory=, or fewer samples="
                ) from error
            weakref.finalize(self, stack.close)
        return self._folder / f"{next(self._names)}"


def _in_pages(tensor: Tensor) -> Tensor:
    """Copy a tensor to pages of its own, which go back to the system with it.

    Between values that come and go, those that stay would tear the memory to pieces.
    """
    flat = torch.frombuffer(_pages(tensor.nbytes), dtype=tensor.dtype)
    return flat.as_strided(tensor.shape, tensor.stride()).copy_(tensor.detach())


def _pages(size: int) -> mmap.mmap:
    """Memory of this process alone, in large pages if there are any: they are filled far faster."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # another system
        return mmap.mmap(-1, size)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


@dataclass(frozen=True)
class _File:
    """A tensor in a file: its numbers as they lie in memory, and their order."""

    path: Path
    dtype: torch.dtype
    shape: torch.Size
    strides: tuple[int, ...]

    def write(self, tensor: Tensor) -> None:
        flat = tensor.detach().as_strided((tensor.numel(),), (1,))
        flat.view(torch.uint8).numpy().tofile(self.path)

    def read(self) -> Tensor:
        return self._numbers(0, -1).as_strided(self.shape, self.strides)

    def rows(self, start: int, end: int) -> Tensor:
        """Some rows, if numbers lie row by row."""
        each = self.dtype.itemsize * self.shape[1:].numel()
        start, end = (min(row, self.shape[0]) for row in (start, end))
        return self._numbers(start * each, (end - start) * each).view(-1, *self.shape[1:])

    def _numbers(self, offset: int, size: int) -> Tensor:
        found = np.fromfile(self.path, dtype=np.uint8, count=size, offset=offset)
        return torch.from_numpy(found).view(self.dtype)


def _is_dense(value: Any) -> bool:
    """Whether a tensor lies in memory without gaps and overlaps, in whatever order."""
    if not isinstance(value, Tensor) or value.device.type != "cpu" or not value.numel():
        return False
    expected = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
