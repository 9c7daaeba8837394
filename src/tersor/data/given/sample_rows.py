"""Batches of samples that are read when they are asked for, so that few are in memory at a time.

Samples come in parts, as the user gives them: arrays in memory, rows of a file, images of a folder.
A batch is some rows of one part or of several, in order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import overload

import numpy as np

from tersor.data.given.feeds import Arrays, to_batch
from tersor.data.walk.observe import Batch, samples_of
from tersor.graph.network import Network


@dataclass(frozen=True)
class Part:
    """Samples that come one after the other, and can be read again and again.

    Attributes:
        count: Their number.
        read: Reads those from the first number to before the second one.
    """

    count: int
    read: Callable[[int, int], Arrays]


@dataclass(frozen=True)
class _Rows:
    """Some samples of a part, from a number to before another one."""

    part: Part
    start: int
    end: int

    def read(self) -> Arrays:
        return self.part.read(self.start, self.end)


class SampleRows(Sequence[Batch]):
    """Batches that are read when they are asked for.

    Attributes:
        counts: The number of samples of each batch.
        widest: How many numbers the widest value of the network holds for one sample, if that is
            known.
    """

    def __init__(
        self,
        network: Network,
        batches: Sequence[tuple[_Rows, ...]],
        can_cut: bool,
        are_alike: bool = False,
        widest: int | None = None,
    ) -> None:
        """Refer to samples; see `whole` and `divided`."""
        self._network, self._batches, self.widest = network, batches, widest
        self._can_cut, self._are_alike = can_cut, are_alike
        self.counts = [sum(rows.end - rows.start for rows in batch) for batch in batches]

    def __len__(self) -> int:
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> "SampleRows": ...

    def __getitem__(self, index: int | slice) -> "Batch | SampleRows":
        """Read one batch, or refer to some of them."""
        if isinstance(index, slice):
            return self._like(self._batches[index])
        return to_batch(self._network, _joined([rows.read() for rows in self._batches[index]]))

    def cut(self, size: int) -> "SampleRows":
        """Cut batches into smaller ones, unless samples cannot be told apart.

        Args:
            size: The most samples in one of them.
        """
        if not self._can_cut:
            return self
        return self._like([each for batch in self._batches for each in _divided(batch, size)])

    def joined(self, size: int) -> "SampleRows":
        """Divide samples of one shape anew, so that batches are of one size; cut others.

        Args:
            size: The number of samples in one of them.
        """
        if not self._are_alike:
            return self.cut(size)
        rows = tuple(rows for batch in self._batches for rows in batch)
        return self._like(list(_divided(rows, size)))

    def _like(self, batches: Sequence[tuple[_Rows, ...]]) -> "SampleRows":
        return SampleRows(self._network, batches, self._can_cut, self._are_alike, self.widest)


def whole(network: Network, parts: Sequence[Part], can_cut: bool) -> SampleRows:
    """Make a batch of each part.

    Args:
        network: The network that takes them.
        parts: The parts.
        can_cut: Whether batches may be cut.
    """
    return SampleRows(network, [(_Rows(part, 0, part.count),) for part in parts], can_cut)


def divided(
    network: Network, parts: Sequence[Part], size: int, widest: int | None = None
) -> SampleRows:
    """Make batches of one size, but for the last one.

    Args:
        network: The network that takes them.
        parts: The parts; their samples have one shape.
        size: The number of samples in a batch.
        widest: As for `SampleRows`.
    """
    rows = tuple(_Rows(part, 0, part.count) for part in parts)
    return SampleRows(network, list(_divided(rows, size)), True, True, widest)


def sample_counts(batches: Sequence[Batch]) -> list[int]:
    """The number of samples of each batch, none of which is read for it.

    Args:
        batches: Inputs, as `(args, kwargs)`.
    """
    return batches.counts if isinstance(batches, SampleRows) else list(map(samples_of, batches))


def last_batches(batches: Sequence[Batch], enough: int) -> Sequence[Batch]:
    """The last batches, so many that they hold enough samples.

    Args:
        batches: All batches.
        enough: The number of samples.
    """
    return batches[len(batches) - _needed(sample_counts(batches)[::-1], enough) :]


def first_batches(batches: Sequence[Batch], enough: int) -> Sequence[Batch]:
    """The first batches, so many that they hold enough samples; one at least, if there is one.

    Args:
        batches: All batches.
        enough: The number of samples.
    """
    return batches[: max(1, _needed(sample_counts(batches), enough))]


def _needed(counts: Sequence[int], enough: int) -> int:
    """How many batches hold enough samples together."""
    return min(len(counts), sum(held < enough for held in accumulate(counts, initial=0)))


def _divided(batch: tuple[_Rows, ...], size: int) -> Iterator[tuple[_Rows, ...]]:
    """Divide rows into groups of one size, but for the last one."""
    starts = list(accumulate((rows.end - rows.start for rows in batch), initial=0))
    for low in range(0, starts[-1], size):
        spans = zip(batch, pairwise(starts), strict=True)
        found = ((rows, max(low, a) - a, min(low + size, b) - a) for rows, (a, b) in spans)
        yield tuple(_Rows(r.part, r.start + i, r.start + j) for r, i, j in found if i < j)


def _joined(parts: list[Arrays]) -> Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
