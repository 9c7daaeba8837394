"""Reads samples from a NumPy file, as the network takes them."""

from mmap import mmap
from pathlib import Path

import numpy as np

from tersor.data.given.feeds import Arrays
from tersor.errors import InvalidInputError
from tersor.frontend.explain import first_line

_ONE = b"\x93NUMPY"  # the first bytes of an .npy file
_ZIP = b"PK"  # those of an .npz file
_AT_ONCE = 1 << 22  # numbers


def load_inputs(path: str | Path) -> tuple[Arrays, np.ndarray | None]:
    """Read inputs from a NumPy file, as the network takes them, so already preprocessed.

    Args:
        path: A `.npy` file with one array, or an `.npz` file with one array per input, under the
            input's name. An additional array called `labels` holds the classes.

    Returns:
        The arrays, and the labels or None. The array of an `.npy` file has the file's name.

    Raises:
        InvalidInputError: The file does not exist, cannot be read, or holds NaN or infinite
            values.
    """
    return with_labels(path, _read(Path(path)))


def with_labels(path: str | Path, arrays: Arrays) -> tuple[Arrays, np.ndarray | None]:
    """Separate inputs from labels, and check that all have the same number of samples.

    Args:
        path: The file that they come from, for messages.
        arrays: The arrays by name; one called `labels` holds the classes.

    Raises:
        InvalidInputError: See `load_inputs`.
    """
    labels = arrays.pop("labels", None) if len(arrays) > 1 else None
    for name, array in arrays.items():
        if not all_finite(array):
            raise InvalidInputError(f"{str(path)!r}: {name!r} holds NaN or infinite values")
    lengths = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if lengths == {0} or len(lengths) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InvalidInputError(
            f"{str(path)!r} holds {shapes or 'nothing'}; every input needs the same number of "
            "samples, at least 1, along its first axis"
        )
    samples = lengths.pop()
    if labels is not None and labels.size != samples:
        raise InvalidInputError(
            f"{str(path)!r} holds {labels.size} labels for {samples} samples; give one label each"
        )
    return arrays, labels


def all_finite(array: np.ndarray) -> bool:
    """Whether an array holds no NaN and no infinite value, looked at part by part.

    Args:
        array: Numbers of any type.
    """
    if array.dtype.kind != "f" or not array.size:
        return True
    if not array.ndim:
        return bool(np.isfinite(array))
    step = max(1, _AT_ONCE * len(array) // array.size)
    starts = range(0, len(array), step)
    return all(np.isfinite(read_rows(array, slice(x, x + step))).all() for x in starts)


def read_rows(array: np.ndarray, rows: slice) -> np.ndarray:
    """Some rows of an array; of a file that is mapped into memory, a copy.

    What was read of a mapped file stays in memory as long as the map does, so another map is made.

    Args:
        array: The array.
        rows: The rows.
    """
    if not isinstance(array, np.memmap):
        return array[rows]
    if array.filename is None or not isinstance(array.base, mmap):
        return np.array(array[rows])
    order = "C" if array.flags.c_contiguous else "F"
    fresh = np.memmap(array.filename, array.dtype, "r", array.offset, array.shape, order)
    return np.array(fresh[rows], order="C")


def _begins_as_one(first: bytes) -> bool:
    """Whether a file is an `.npy` and no `.npz`; NumPy takes what is neither for a pickle."""
    if first != _ONE and not first.startswith(_ZIP):
        raise ValueError("it begins as something else")
    return first == _ONE


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise InvalidInputError(f"{str(path)!r}: there is no such file")
    try:
        with path.open("rb") as file:
            is_one = _begins_as_one(file.read(len(_ONE)))
            file.seek(0)
            given = (path, "r") if is_one else (file, None)
            content = np.load(*given, allow_pickle=False)
            arrays = {path.name: content} if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:
        raise InvalidInputError(
            f"{str(path)!r} is not a readable .npy or .npz file ({first_line(error)}); write it "
            "with np.save or np.savez"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise InvalidInputError(
                f"{str(path)!r}: {name!r} holds {getattr(array, 'dtype', type(array).__name__)}; "
                "only real numbers and booleans can be inputs"
            )
    return arrays
