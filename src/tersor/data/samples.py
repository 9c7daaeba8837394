"""Unlabelled samples: converts what the user gives to a list of checked batches."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tersor.data.feeds import Arrays, batches, input_names, network_feed, split_labels, to_batch
from tersor.data.observe import Batch
from tersor.data.pieces import can_be_cut
from tersor.data.sample_sizes import check_sizes
from tersor.data.synthetic import Synthetic, example_tensors, synthetic_batches
from tersor.data.widest import widest
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.graph.shapes import is_free

_LARGEST = 32  # samples in one batch
_PARTS = 8  # the number of batches of a small set of samples
_NUMBERS = 1 << 25  # of the widest value of a network, for one batch


def samples(network: Network, data: Any, most: int | None = None) -> Sequence[Batch]:
    """Put samples into batches that the network takes.

    Batches of equal shape are joined and divided again, so that the held-out samples do not depend
    on the user's batches.

    Args:
        network: The captured network.
        data: One batch, or an iterable of batches (a list, a generator, a `DataLoader`): see
            `tersor.data.feeds`. Labels after the inputs are dropped, and so are keys of a mapping
            that are no inputs.
        most: Largest number of samples to read.

    Raises:
        InvalidInputError: There is no sample, or one has another shape or type than the network
            takes, or holds NaN or infinite values, or is too small; names the input and the batch.
    """
    can_cut = can_be_cut(network)
    found = list(_limited(_checked(network, data), most, can_cut))
    check_sizes(network, found)
    if not can_cut or len({_shape_of_a_sample(arrays) for arrays in found}) != 1:
        return [to_batch(network, arrays) for arrays in found]
    joined = {name: _joined([arrays[name] for arrays in found]) for name in found[0]}
    count = _length(joined)
    size = min(_LARGEST, math.ceil(count / _PARTS), max(1, _NUMBERS // widest(network)))
    parts = (_part(joined, slice(start, start + size)) for start in range(0, count, size))
    return [to_batch(network, part) for part in parts]


def optional_samples(network: Network, data: Any, most: int | None = None) -> Sequence[Batch]:
    """As `samples`, but return an empty list without data.

    Args:
        network: As for `samples`.
        data: As for `samples`, or None.
        most: As for `samples`.
    """
    return [] if data is None else samples(network, data, most)


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
        input_ranges: As for `tersor.data.synthetic.synthetic_batches`.
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


def _checked(network: Network, data: Any) -> Iterator[Arrays]:
    tensors = len(input_names(network))
    for number, batch in enumerate(batches(data)):
        arrays = network_feed(network, split_labels(batch, tensors)[0])
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InvalidInputError(
                    f"batch {number} of the data holds NaN or infinite values in input {name!r}; "
                    "clean the samples first"
                )
        yield arrays


def _limited(found: Iterator[Arrays], most: int | None, can_cut: bool) -> Iterator[Arrays]:
    left = math.inf if most is None else most
    if left < 1:
        raise InvalidInputError(f"samples={most}; give at least 1")
    for number, arrays in enumerate(found):
        if _length(arrays) <= left or (number == 0 and not can_cut):
            yield arrays
        elif can_cut:
            yield _part(arrays, slice(0, int(left)))
        left -= _length(arrays)
        if left <= 0:
            return


def _input_shapes(network: Network) -> list[torch.Size]:
    values = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    return [value.shape for value in values if isinstance(value, torch.Tensor)]


def _shape_of_a_sample(arrays: Arrays) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in arrays.values())


def _length(arrays: Arrays) -> int:
    return max((len(array) for array in arrays.values() if array.ndim), default=1)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _part(arrays: Arrays, rows: slice) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}
