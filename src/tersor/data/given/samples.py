"""Unlabelled samples: converts what the user gives to checked batches, few of them in memory.

What a user holds in memory stays where it is. Other samples are kept: in memory if they are small.
If they are not, those of files are read from there again, and the rest goes to files.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from tersor.data.given.feeds import Arrays, batches, input_names, network_feed, split_labels
from tersor.data.given.kept_rows import Keeper, is_part_of
from tersor.data.given.numpy_files import all_finite
from tersor.data.given.pieces import can_be_cut
from tersor.data.given.sample_rows import Part, divided, whole
from tersor.data.given.sample_sizes import check_sizes, one_sample
from tersor.data.given.sources import StoredSamples, mapped
from tersor.data.invented.synthetic import Synthetic, example_tensors, synthetic_batches
from tersor.data.walk.observe import Batch
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.widest import widest
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.graph.shapes import is_free

LARGEST = 32  # samples in one batch
_PARTS = 8  # the number of batches of a small set of samples
_NUMBERS = 1 << 25  # of the widest value of a network, for one batch
Again = Callable[[int, int], Any]  # reads some samples of a batch once more


class _Given(NamedTuple):
    """A checked batch of the user's, what reads it again, and whether the user holds it anyway."""

    arrays: Arrays
    again: Again | None
    stays: bool


def samples(
    network: Network,
    data: Any,
    most: int | None = None,
    shelf: Shelf | None = None,
    numbers: int = _NUMBERS,
) -> Sequence[Batch]:
    """Put samples into batches that the network takes.

    Batches of equal shape are joined and divided again, so that the held-out samples do not depend
    on the user's batches.

    Args:
        network: The captured network.
        data: One batch, or an iterable of batches (a list, a generator, a `DataLoader`): see
            `tersor.data.given.feeds`. Labels after the inputs are dropped, and so are keys of a
            mapping that are no inputs.
        most: Largest number of samples to read.
        shelf: Keeps samples that cannot be read again; by default one in the system's folder for
            temporary files.
        numbers: Of the widest value of the network, for one batch; one sample may have more.

    Raises:
        InvalidInputError: There is no sample, or one has another shape or type than the network
            takes, or holds NaN or infinite values, or is too small; names the input and the batch.
    """
    can_cut, keeper = can_be_cut(network), Keeper(shelf or Shelf())
    parts, shapes, counts, smallest = list[Part](), set(), set(), None
    for arrays, again, stays in _limited(_checked(network, data), most, can_cut):
        counts.add(len({len(array) if array.ndim else 0 for array in arrays.values()}))
        shapes.add(_shape_of_a_sample(arrays))
        if smallest is None or _numbers(arrays) < _numbers(smallest):
            smallest = one_sample(arrays) if can_cut else arrays
        read = None if again is None else partial(_fed, network, again)
        parts.append(keeper.part(arrays, _length(arrays), read, stays))
    check_sizes(network, [] if smallest is None else [smallest])
    can_cut = can_cut and counts == {1}
    if not can_cut or len(shapes) != 1:
        return whole(network, parts, can_cut)
    count, wide = sum(part.count for part in parts), widest(network)
    size = min(LARGEST, math.ceil(count / _PARTS), max(1, numbers // wide))
    return divided(network, parts, size, wide)


def optional_samples(
    network: Network,
    data: Any,
    most: int | None = None,
    shelf: Shelf | None = None,
    numbers: int = _NUMBERS,
) -> Sequence[Batch]:
    """As `samples`, but return an empty list without data.

    Args:
        network: As for `samples`.
        data: As for `samples`, or None.
        most: As for `samples`.
        shelf: As for `samples`.
        numbers: As for `samples`.
    """
    return [] if data is None else samples(network, data, most, shelf, numbers)


def samples_or_random(
    network: Network,
    data: Any,
    most: int | None = None,
    input_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Sequence[Batch]:
    """As `samples`, but without data, return random inputs in the shapes of the example.

    Args:
        network: As for `samples`.
        data: As for `samples`, or None.
        most: As for `samples`.
        input_ranges: As for `tersor.data.invented.synthetic.synthetic_batches`.
    """
    if data is not None:
        return samples(network, data, most)
    return list(synthetic_batches(network, Synthetic(), input_ranges))


def given_or_example(network: Network, *given: Any) -> Any:
    """Return the first inputs that are not None, or else the example of the network.

    Args:
        network: The captured network.
        given: Inputs that the user may have given.
    """
    found = next((inputs for inputs in given if inputs is not None), None)
    return example_tensors(network) if found is None else found


def repeatable(data: Any) -> Any:
    """Make data that can be iterated several times: a generator becomes a list.

    Args:
        data: As for `samples`, or None.
    """
    return list(data) if isinstance(data, Iterator) else data


def check_first(network: Network, data: Any) -> None:
    """Check whether the first batch fits, and read no other.

    Args:
        network: The captured network.
        data: See `samples`.

    Raises:
        InvalidInputError: See `samples`.
    """
    next(_checked(network, data))


def fixed_batch(network: Network) -> int | None:
    """The only batch size that a network takes; None if it takes any.

    Args:
        network: The captured network.
    """
    shapes = _input_shapes(network)
    sizes = {int(shape[0]) for shape in shapes if shape and not is_free(shape[0])}
    return sizes.pop() if len(sizes) == 1 else None


def held_back(batches: Sequence[Batch], share: float) -> int:
    """Count the batches to hold out: a share of them, never all, and none of a single one.

    Args:
        batches: The batches.
        share: From 0 to below 1.

    Raises:
        InvalidInputError: The share is out of bounds.
    """
    if not 0 <= share < 1:
        raise InvalidInputError(f"held_back={share}; choose a share from 0 to below 1")
    return min(math.ceil(share * len(batches)), len(batches) - 1)


def _checked(network: Network, data: Any) -> Iterator[_Given]:
    is_held = isinstance(data, torch.Tensor | np.ndarray | tuple | list | Mapping)
    for number, (batch, again) in enumerate(_readable(data)):
        arrays = _feed(network, batch)
        for name, array in arrays.items():
            if not all_finite(array):
                raise InvalidInputError(
                    f"batch {number} of the data holds NaN or infinite values in input {name!r}; "
                    "clean the samples first"
                )
        yield _Given(arrays, again, is_held and is_part_of(batch, arrays))


def _readable(data: Any) -> Iterator[tuple[Any, Again | None]]:
    """The batches as the user gives them, each with what reads it again, if anything does."""
    if isinstance(data, np.memmap):
        data = mapped(data)
    if isinstance(data, StoredSamples):
        yield from data.readable()
    else:
        yield from ((batch, None) for batch in batches(data))


def _feed(network: Network, batch: Any) -> Arrays:
    return network_feed(network, split_labels(batch, len(input_names(network)))[0])


def _fed(network: Network, again: Again, start: int, end: int) -> Arrays:
    return _feed(network, again(start, end))


def _limited(found: Iterator[_Given], most: int | None, can_cut: bool) -> Iterator[_Given]:
    left = math.inf if most is None else most
    if left < 1:
        raise InvalidInputError(f"samples={most}; give at least 1")
    for number, given in enumerate(found):
        if _length(given.arrays) <= left or (number == 0 and not can_cut):
            yield given
        elif can_cut:
            first = {name: array[: int(left)] for name, array in given.arrays.items()}
            yield given._replace(arrays=first)
        left -= _length(given.arrays)
        if left <= 0:
            return


def _input_shapes(network: Network) -> list[torch.Size]:
    values = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    return [value.shape for value in values if isinstance(value, torch.Tensor)]


def _shape_of_a_sample(arrays: Arrays) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in arrays.values())


def _numbers(arrays: Arrays) -> int:
    """The numbers of one sample: where only some axes are open, more with every open size."""
    return math.prod(math.prod(array.shape[1:]) for array in arrays.values())


def _length(arrays: Arrays) -> int:
    return max((len(array) for array in arrays.values() if array.ndim), default=1)
