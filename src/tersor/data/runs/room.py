"""Estimates what a run needs in memory, and how much room is left for the values of all samples.

    room = memory − what the process holds − 12 · widest value of a batch − 8 · largest E[x x̂ᵀ]
                  − 3 · what the network returns for 16 samples

What finds no room goes to files. Results do not depend on it.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tersor.data.given.pieces import NUMBERS
from tersor.data.given.sample_rows import sample_counts
from tersor.data.runs.memory import free, resident
from tersor.data.walk.observe import Batch
from tersor.data.walk.widest import returned, widest
from tersor.errors import InvalidInputError, OutOfMemoryError
from tersor.graph.layers import layers
from tersor.graph.network import Network

Memory = int | str  # bytes, or a size in words, such as "2GB"

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", re.IGNORECASE)
_VALUES, _MATRICES = 12, 8  # of a batch, and of a layer, that are there at the same time
_OUTPUTS, _JUDGED = 3, 16  # of two networks and their difference, for the samples that judge
_ALIVE = 12  # values as wide as the widest that two networks hold together, at most
_SHARE = 0.5  # of what is free, if nothing is asked for
_FULL = ("can't allocate memory", "out of memory", "cannot allocate memory", "not enough memory")


def bytes_of(memory: Memory) -> int:
    """Read a size.

    Args:
        memory: Bytes, or a number with a unit, such as `"800MB"`.

    Raises:
        InvalidInputError: It is no size.
    """
    found = _SIZE.fullmatch(str(memory).strip())
    unit = _UNITS.get(found[2].upper() if found else "?")
    size = int(float(found[1]) * unit) if found and unit else 0
    if size < 1:
        raise InvalidInputError(
            f"memory={memory!r} is no size; give a number with a unit, such as '800MB' or '2GB', "
            "or a number of bytes"
        )
    return size


def room_for(network: Network, memory: Memory | None, needed: int | None = None) -> int | None:
    """Estimate how many bytes of values may be in memory, for all samples together.

    Args:
        network: The network.
        memory: What the process may hold in all. Default: what it holds, and half of what is free.
        needed: Bytes that the work takes beside these values. Default: what rounding takes.

    Returns:
        Bytes, or None if the system does not tell what is free.

    Raises:
        InvalidInputError: The memory is no size, or less than the work needs with all values in
            files.
    """
    needed = _needed(network) if needed is None else needed
    held, left = resident(), free()
    if memory is not None:
        most = bytes_of(memory)
        if most < held + needed:
            raise InvalidInputError(
                f"memory={memory!r} is too little: the process holds {_words(held)} already, and "
                f"the work takes {_words(needed)} more with the values of all samples in files; "
                f"give memory='{_words(math.ceil(1.05 * (held + needed)))}' or more"
            )
        return most - held - needed
    return None if left is None else max(0, int(_SHARE * left) - needed)


def check_memory(memory: Memory | None, data: object) -> None:
    """Check that a bound of memory has samples whose values it bounds.

    Args:
        memory: What a user asked for, or None.
        data: Samples, or None.

    Raises:
        InvalidInputError: There are none.
    """
    if memory is not None and data is None:
        raise InvalidInputError(
            f"memory={memory!r} is for the values of samples, and there are none here. Leave out "
            "memory=, or give data="
        )


def values_fit(network: Network, batches: Sequence[Batch], room: int | None) -> bool:
    """Whether the values of all samples surely find room, also those of two networks side by side.

    They need not be copied to pages of their own then, which takes as long as computing them.

    Args:
        network: The network.
        batches: The samples.
        room: What `room_for` returned.
    """
    count = sum(sample_counts(batches))
    return room is None or 4 * _ALIVE * count * widest(network) < room


@contextmanager
def told_if_full(samples: str = "WithData(samples=…)") -> Iterator[None]:
    """Say what to do about an allocation that fails.

    Args:
        samples: The option that bounds the number of samples.

    Raises:
        OutOfMemoryError: An allocation failed.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        words = str(error)
        if isinstance(error, RuntimeError) and not any(x in words.lower() for x in _FULL):
            raise
        raise OutOfMemoryError(
            f"there is not enough memory: an allocation failed. Read fewer samples with {samples}, "
            "on the command line --samples, or lower memory=, on the command line --memory, so "
            "that more values are in files"
        ) from error


def _needed(network: Network) -> int:
    """Bytes that the work takes beside the values of all samples."""
    values = max(widest(network), NUMBERS)
    matrices = (layer.grouped_weight().shape for layer in layers(network) if not layer.computed)
    largest = max((groups * math.prod(rest) ** 2 for groups, _, *rest in matrices), default=0)
    outputs = _OUTPUTS * _JUDGED * returned(network)
    return 4 * (_VALUES * values + _MATRICES * largest + outputs)


def _words(size: int) -> str:
    return f"{math.ceil(size / 10**6):,}MB".replace(",", "")
