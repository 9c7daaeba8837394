"""Reads samples from a file of tensors that `torch.save` wrote, without running any code in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.data.given.feeds import Arrays, with_array_type
from tersor.data.given.numpy_files import with_labels
from tersor.errors import InvalidInputError
from tersor.frontend.explain import first_line

_REPEATED = 1 << 28  # bytes: a small file may repeat values without bounds


def load_tensors(path: str | Path) -> tuple[Arrays, np.ndarray | None]:
    """Read inputs from a `.pt` file.

    Args:
        path: A file with one tensor, a list or tuple of one tensor per input, or a dictionary of
            them by the name of the input. One called `labels` holds the classes, or the last one
            of a list if it is a row of integers.

    Returns:
        The arrays, and the labels or None.

    Raises:
        InvalidInputError: The file does not exist or cannot be read, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInputError(f"{str(path)!r}: there is no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InvalidInputError(
            f"{str(path)!r} is not a readable file of tensors ({first_line(error)}); write it with "
            "torch.save, with nothing but tensors, lists and dictionaries in it"
        ) from error
    named = _named(path, content)
    wrong = [name for name, x in named.items() if not isinstance(x, Tensor)]
    if wrong or not named:
        kind = type(named[wrong[0]]).__name__ if wrong else "nothing"
        raise InvalidInputError(
            f"{str(path)!r} holds {kind}; give a tensor, or one tensor per input in a list or in a "
            "dictionary"
        )
    return with_labels(path, {name: _array(path, name, x) for name, x in named.items()})


def _array(path: Path, name: str, value: Tensor) -> np.ndarray:
    try:
        size = value.numel() * value.itemsize
        if size > _REPEATED and size > value.untyped_storage().nbytes():
            raise TypeError(f"its {size:,} bytes repeat values that the file has once")
        return with_array_type(value).detach().numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise InvalidInputError(
            f"{str(path)!r}: tensor {name!r} has no form as an array ({first_line(error)}); store "
            "it as a dense tensor of float32 or integers, as x.to_dense(), x.float() or "
            "x.contiguous() give it"
        ) from error


def _named(path: Path, content: Any) -> dict[str, Any]:
    """The tensors by name; those of a list by their place."""
    if isinstance(content, Mapping):
        return {str(name): x for name, x in content.items()}
    if not isinstance(content, list | tuple):
        return {path.name: content}
    found: dict[str, Any] = {str(place): x for place, x in enumerate(content)}
    last = content[-1] if len(content) > 1 else None
    if isinstance(last, Tensor) and last.ndim == 1 and not last.is_floating_point():
        found["labels"] = found.pop(str(len(content) - 1))
    return found
