"""Finds samples by one string: a file, a folder of images, or the user's own code.

A source is an iterable of batches. It reads a batch when one is requested, and can be iterated many
times, so the same samples can be used to quantize and to verify.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, Dataset

from tersor.data.given.feeds import Arrays, batches
from tersor.data.given.number_tables import load_table
from tersor.data.given.numpy_files import load_inputs, read_rows
from tersor.data.given.tensor_files import load_tensors
from tersor.data.given.texts import TEXTS, load_texts
from tersor.data.images import SUFFIXES, Pixels, find_classes, read_images
from tersor.errors import InvalidInputError, TersorError
from tersor.frontend.own_code import find_function, in_short, is_function

_BATCH = 32
_LOADERS: dict[str, Callable[[Path], tuple[Arrays, np.ndarray | None]]] = {
    ".csv": load_table,
    ".pt": load_tensors,
    ".pth": load_tensors,
}

BATCH = 64  # samples in a batch of a training


@dataclass(frozen=True)
class StoredSamples:
    """Samples in a file or a folder.

    Attributes:
        name: The user's name for them.
        count: Number of samples.
        read: Reads some of them: a batch, or a list of batches if they differ in size.
        classes: Label of each sample, or None.
        size: Batch size, if all batches must have the same size.
    """

    name: str
    count: int
    read: Callable[[slice], Any] = field(repr=False)
    classes: np.ndarray | None = field(default=None, repr=False)
    size: int | None = None

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each sample that is read, or None."""
        return None if self.classes is None else self.classes.ravel()[: self._end]

    def check_labels(self) -> None:
        """Check that there is a class for each sample.

        Raises:
            InvalidInputError: Labels have another shape, or are no classes.
        """
        if self.classes is None:
            return
        found = self.classes
        if found.shape not in ((len(found),), (len(found), 1)) or len(found) < self.count:
            raise InvalidInputError(
                f"{self.name!r} has labels of shape {list(found.shape)} for {self.count} samples; "
                "give the number of a class for each sample"
            )
        is_number = found.dtype.kind in "iufb"
        if not is_number or bool((found < 0).any()) or bool((found != np.floor(found)).any()):
            raise InvalidInputError(
                f"labels of {self.name!r} are {found.dtype} such as {found.ravel()[0]!r}, and not "
                "all of them are the number of a class: 0, 1, 2, …"
            )

    def first(self, most: int | None) -> "StoredSamples":
        """Limit the number of samples."""
        return self if most is None else replace(self, count=min(self.count, most))

    def in_batches(self, size: int | None) -> "StoredSamples":
        """Put samples into full batches of one size, for a model that takes no others.

        Raises:
            InvalidInputError: There are too few samples for one batch.
        """
        if size is not None and self.count < size:
            raise InvalidInputError(
                f"{self.name!r}: {self.count} samples, but the model takes batches of {size}; give "
                "more"
            )
        return replace(self, size=size)

    @property
    def _end(self) -> int:
        return self.count - self.count % (self.size or 1)

    def _starts(self) -> range:
        return range(0, self._end, self.size or _BATCH)

    def epochs(self, size: int, labelled: bool) -> DataLoader:
        """Make batches for training, in another order in each epoch.

        Args:
            size: Batch size; a smaller last batch is left out.
            labelled: Whether a batch is a pair of inputs and labels.

        Raises:
            InvalidInputError: There are too few samples for a batch, or no labels.
        """
        size = self.size or size
        if self.count < size:
            raise InvalidInputError(
                f"{self.name!r}: {self.count} samples, fewer than one batch of {size}; give more "
                "or make batches smaller"
            )
        if labelled and self.labels is None:
            raise InvalidInputError(
                f"{self.name!r} holds no labels, which a loss compares with; store them in an .npz "
                "file under the name labels, or train without a loss"
            )
        return DataLoader(_Rows(self, labelled), size, shuffle=True, drop_last=True)

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._starts())

    def __iter__(self) -> Iterator[Any]:
        return (batch for batch, _ in self.readable())

    def readable(self) -> Iterator[tuple[Any, Callable[[int, int], Any]]]:
        """The batches, each with what reads some of its samples again, by their numbers in it."""
        step = self._starts().step
        for start in self._starts():
            found, first = self.read(slice(start, min(start + step, self._end))), start
            for batch in found if isinstance(found, list) else [found]:
                yield batch, partial(self._again, first)
                first += _length(batch)

    def _again(self, first: int, start: int, end: int) -> Any:
        found = self.read(slice(first + start, first + end))
        return found[0] if isinstance(found, list) else found


class _Rows(Dataset):
    """The stored samples, one by one, by their number."""

    def __init__(self, stored: StoredSamples, labelled: bool) -> None:
        self.stored, self.labels = stored, stored.labels if labelled else None

    def __len__(self) -> int:
        return self.stored.count

    def __getitem__(self, row: int) -> Any:
        found = self.stored.read(slice(row, row + 1))
        only = found[0] if isinstance(found, list) else found
        inputs = pytree.tree_map(lambda array: array[0], only)
        return inputs if self.labels is None else (inputs, self.labels[row])


@dataclass(frozen=True)
class GeneratedSamples:
    """Samples that the user's own code generates.

    Attributes:
        name: `module:function`.
        function: Returns a batch, or an iterable of batches; labels may follow the inputs.
        most: Number of samples after which no further batch is taken.
    """

    name: str
    function: Callable[[], Any] = field(repr=False)
    most: int | None = None
    labels: None = None

    def first(self, most: int | None) -> "GeneratedSamples":
        """Limit the batches to those needed for so many samples."""
        return replace(self, most=most)

    def in_batches(self, size: int | None) -> "GeneratedSamples":  # noqa: ARG002
        """Return the samples unchanged, since the code makes its own batches."""
        return self

    def epochs(self, size: int, labelled: bool) -> Iterable[Any] | Callable[[], Any]:  # noqa: ARG002
        """Return the training batches of the code, which makes and shuffles its own batches."""
        made = self._made()
        return self.function if isinstance(made, Iterator) else made

    def __iter__(self) -> Iterator[Any]:
        seen = 0
        for batch in self._batches():
            yield batch
            seen += _length(batch)
            if self.most is not None and seen >= self.most:
                return

    def _batches(self) -> Iterator[Any]:
        with self._named():
            yield from batches(self.function())

    def _made(self) -> Any:
        with self._named():
            return self.function()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the user's code in its errors."""
        try:
            yield
        except (Exception, SystemExit) as error:
            failed = f"it failed with {in_short(error)}; call it by itself first"
            what = error if isinstance(error, TersorError) else failed
            raise InvalidInputError(f"{self.name}: {what}") from error


Source = StoredSamples | GeneratedSamples


def find_source(
    spec: str,
    pixels: Pixels = Pixels(),  # noqa: B008
    tokenizer: str | Path | None = None,
) -> Source:
    """Find the samples that a string names.

    Args:
        spec: A file of arrays (`.npy`, `.npz`, `.pt`), a table of numbers (`.csv`), texts (`.txt`,
            a text per line); a folder of images, or of folders named after classes; or
            `module:function`, a function in the user's own code that returns batches.
        pixels: The preprocessing of images; by default pixels are only scaled to 0…1.
        tokenizer: The `tokenizer.json` that turns texts into numbers.

    Raises:
        InvalidInputError: Nothing has that name, or it cannot be read.
        UnsupportedError: A package is needed and is not installed; the message names it.
    """
    path = Path(spec)
    if path.is_dir():
        files, classes = find_classes(path)
        return StoredSamples(spec, len(files), partial(_read_images, files, pixels), classes)
    if path.suffix.lower() in SUFFIXES and path.is_file():
        raise InvalidInputError(f"{spec!r} is one image; give the folder that it is in")
    if is_function(spec):
        return GeneratedSamples(spec, _called_once(find_function(spec)))
    if path.suffix in TEXTS:
        arrays, labels = load_texts(path, tokenizer), None
    else:
        arrays, labels = _LOADERS.get(path.suffix, load_inputs)(path)
    count = len(next(iter(arrays.values())))
    return StoredSamples(spec, count, partial(_cut, arrays), labels)


def _called_once(function: Callable[[], Any]) -> Callable[[], Any]:
    """Keep what a function returns, unless it is an iterator, which can be used only once."""
    kept: list[Any] = []

    def call() -> Any:
        if kept:
            return kept[0]
        result = function()
        if not isinstance(result, Iterator):
            kept.append(result)
        return result

    return call


def _read_images(files: list[Path], pixels: Pixels, rows: slice) -> list[np.ndarray]:
    return read_images(files[rows], pixels)


def mapped(array: np.memmap) -> StoredSamples:
    """The samples in a file that is mapped into memory.

    Args:
        array: The file, as NumPy maps it.
    """
    name = str(array.filename or "the mapped file")
    return StoredSamples(name, len(array) if array.ndim else 0, partial(_cut, {name: array}))


def _cut(arrays: Arrays, rows: slice) -> Arrays | np.ndarray:
    """Select rows: by name, or as a plain array if the file has only one."""
    parts = {name: read_rows(array, rows) for name, array in arrays.items()}
    return next(iter(parts.values())) if len(parts) == 1 else parts


def _length(batch: Any) -> int:
    arrays = [x for x in pytree.tree_leaves(batch) if isinstance(x, torch.Tensor | np.ndarray)]
    return max((len(x) for x in arrays if x.ndim), default=1)
