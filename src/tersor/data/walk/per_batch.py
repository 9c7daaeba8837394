"""The values of one node for every batch: kept on a shelf, or computed when they are read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import torch

from tersor.data.walk.shelf import Item


class Values(Sequence[Any]):
    """A value for every batch; reading one may compute it or read a file, so read it once."""

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> "Values": ...

    def __getitem__(self, index: int | slice) -> Any:
        """The value for one batch, or the values for some of them."""
        raise NotImplementedError

    def drop(self, index: int) -> None:
        """Forget the value for one batch, which is not read any more."""

    def coded(self, index: int) -> Any:
        """The value for one batch, as `Codes` where it is kept as such."""
        return self[index]

    def length(self, index: int) -> int:
        """The length of the first axis for one batch; a single number counts as one."""
        return _length(self[index])


class Kept(Values):
    """Values on a shelf."""

    def __init__(self, items: Iterable[Item | None]) -> None:
        """Refer to values.

        Args:
            items: Those of the batches.
        """
        self._items = list(items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int | slice) -> Any:
        found = self._items[index]
        if isinstance(found, list):
            return Kept(found)
        assert found is not None
        return found.value()

    def drop(self, index: int) -> None:
        """Forget the value for one batch; it goes if nothing else refers to it."""
        self._items[index] = None

    def coded(self, index: int) -> Any:
        """The value for one batch, as it is kept."""
        item = self._items[index]
        assert item is not None
        return item.kept()

    def length(self, index: int) -> int:
        """The length of the first axis for one batch, without a look at the value."""
        item = self._items[index]
        return super().length(index) if item is None or not item.shape else item.shape[0]


class Equal(Values):
    """One value that does not depend on the batch."""

    def __init__(self, value: Any, count: int) -> None:
        """Repeat a value.

        Args:
            value: The value.
            count: The number of batches.
        """
        self._value, self._count = value, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Equal(self._value, len(range(self._count)[index]))
        range(self._count)[index]
        return self._value


class Computed(Values):
    """What a function makes of the values of some sequences, anew whenever it is read."""

    def __init__(self, function: Callable[..., Any], *parts: Sequence[Any]) -> None:
        """Keep what is needed to compute the values.

        Args:
            function: The function.
            parts: Its arguments, for every batch; at least one.
        """
        self._function, self._parts = function, parts
        self._lengths: dict[tuple[int, ...], int] = {}
        self._found: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._parts[0])

    def __getitem__(self, index: int | slice) -> Any:
        found = [part[index] for part in self._parts]
        if isinstance(index, slice):
            return Computed(self._function, *found)
        with torch.no_grad():
            return self._function(*found)

    def length(self, index: int) -> int:
        """The length of the first axis; values of equally long ones are equally long."""
        if index not in self._found:
            given = tuple(
                part.length(index) if isinstance(part, Values) else _length(part[index])
                for part in self._parts
            )
            if given not in self._lengths:
                self._lengths[given] = super().length(index)
            self._found[index] = self._lengths[given]
        return self._found[index]

    def drop(self, index: int) -> None:
        """Forget what the value for one batch is computed from."""
        for part in self._parts:
            if isinstance(part, Values):
                part.drop(index)


class AsKept(Values):
    """Values as they are kept: `Codes` where they were rounded to integers."""

    def __init__(self, values: Values) -> None:
        """Refer to values.

        Args:
            values: The values.
        """
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return AsKept(self._values[index])
        return self._values.coded(index)

    def drop(self, index: int) -> None:
        """Forget the value for one batch."""
        self._values.drop(index)

    def length(self, index: int) -> int:
        """The length of the first axis for one batch."""
        return self._values.length(index)


class Picked(Values):
    """The values of several sequences, in some order."""

    def __init__(self, places: list[tuple[Sequence[Any], int]]) -> None:
        """Choose values.

        Args:
            places: A sequence and the place in it, for each value.
        """
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Picked(self._places[index])
        values, place = self._places[index]
        return values[place]

    def length(self, index: int) -> int:
        """The length of the first axis for one place."""
        values, place = self._places[index]
        return values.length(place) if isinstance(values, Values) else _length(values[place])


def coded(values: Sequence[Any]) -> Iterator[Any]:
    """Iterate over values, which are `Codes` where they are kept as such.

    Args:
        values: Tensors.
    """
    for index in range(len(values)):
        yield values.coded(index) if isinstance(values, Values) else values[index]


def lengths(values: Sequence[Any]) -> list[int]:
    """The length of the first axis of every value.

    Args:
        values: Tensors.
    """
    if not isinstance(values, Values):
        return [_length(value) for value in values]
    return [values.length(index) for index in range(len(values))]


def _length(value: Any) -> int:
    """The length of the first of several values; a size, which is no tensor, stands for itself."""
    if isinstance(value, list | tuple):
        return _length(value[0]) if value else 0
    if isinstance(value, torch.Tensor) and value.ndim:
        return len(value)
    return value if isinstance(value, int) else 1
