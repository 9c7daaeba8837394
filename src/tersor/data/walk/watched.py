"""Values that are looked at when they are read for the first time, by whoever reads them."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tersor.data.walk.per_batch import Values


class Watched(Values):
    """The values of one node, each of which is shown to a watcher once."""

    def __init__(
        self,
        values: Values,
        watcher: Callable[[int, Tensor], None],
        places: range | None = None,
        left: set[int] | None = None,
    ) -> None:
        """Watch values.

        Args:
            values: The value for every batch.
            watcher: Called with the number of each batch and the value, in any order.
            places: The numbers of the batches; default: all, in order.
            left: The batches that nobody has read yet, shared by all slices; default: all.
        """
        self._values, self._watcher = values, watcher
        self._places = range(len(values)) if places is None else places
        self._left = set(self._places) if left is None else left

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Watched(self._values[index], self._watcher, self._places[index], self._left)
        found = self._values[index]
        place = self._places[index]
        if place in self._left:
            self._left.remove(place)
            self._watcher(place, found)
        return found

    def drop(self, index: int) -> None:
        """Forget the value for one batch."""
        self._values.drop(index)

    def length(self, index: int) -> int:
        """The length of the first axis for one batch."""
        return self._values.length(index)

    def look(self) -> None:
        """Read what nobody has read yet."""
        for index in sorted(self._left):
            _ = self[index]
