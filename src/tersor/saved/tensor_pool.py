"""The tensors of a file: equal ones are stored once, and each keeps its order in memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.data.runs.described import hash_tensor
from tersor.errors import UnsupportedError


@dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Attributes:
        key: Its name there.
        order: The axes as they lie in memory, the outermost first; None if as they are numbered.
    """

    key: str
    order: tuple[int, ...] | list[int] | None = None


class Store:
    """Collects tensors to write.

    Attributes:
        tensors: Tensors by key.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._keys: dict[str, str] = {}

    def add(self, name: str, value: Tensor) -> Stored:
        """Add a tensor.

        Args:
            name: The key that it gets if none like it is there.
            value: The tensor.

        Raises:
            UnsupportedError: It is not stored as a dense array.
        """
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            raise UnsupportedError(f"{name!r} is not stored as a dense array; it cannot be saved")
        value = value.detach().cpu().resolve_conj().resolve_neg()
        order = _order(value)
        dense = value.contiguous() if order is None else value.permute(order)
        digest = hashlib.sha256()
        hash_tensor(digest, dense)
        key = self._keys.setdefault(digest.hexdigest(), name)
        if key == name:
            self.tensors[key] = dense.clone() if _is_part(dense) else dense
        return Stored(key, order)


def _order(value: Tensor) -> list[int] | None:
    """The axes in the order of memory, if the tensor is dense in another than their own."""
    if value.is_contiguous():
        return None
    order = sorted(range(value.ndim), key=lambda axis: value.stride(axis), reverse=True)
    return order if value.permute(order).is_contiguous() else None


def _is_part(value: Tensor) -> bool:
    return value.untyped_storage().nbytes() != value.numel() * value.itemsize


class Pool:
    """Hands out the tensors of a file that was read, each a copy of its own."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def take(self, stored: Stored) -> Tensor:
        """A tensor.

        Args:
            stored: Which one.

        Raises:
            ValueError: The file does not hold it, or it has other axes.
        """
        found = self._tensors.get(stored.key)
        if found is None:
            raise ValueError(f"the tensor {repr(stored.key)[:80]} is missing")
        if stored.order is None:
            return found.clone()
        if sorted(stored.order) != list(range(found.ndim)):
            raise ValueError(f"the axes of {stored.key[:80]!r} are {stored.order}")
        inverse = sorted(range(found.ndim), key=lambda axis: stored.order[axis])  # type: ignore[index]
        return found.clone().permute(inverse)
