"""One node of a graph with its values at hand, as the functions of operators read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from tersor.core.mlas.integer_add import Stepped
from tersor.core.mlas.requantize import Limits

_LIMITS: dict[str, Limits] = {"uint8": (0, 255), "int8": (-128, 127)}


class Unknown(Exception):  # noqa: N818 - no error: the runtime computes the node then
    """The arithmetic of this node is not known."""


@dataclass
class Call:
    """A node and its inputs.

    Attributes:
        node: The node.
        arrays: Its inputs; None for one that is left out.
        saturates: Whether kernels add pairs of products in saturating 16 bits.
        saturated: The share of the sums that did.
    """

    node: onnx.NodeProto
    arrays: Sequence[np.ndarray | None]
    saturates: bool
    saturated: float = 0.0

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node, or the default."""
        found = (a for a in self.node.attribute if a.name == name)
        value = next(found, None)
        return default if value is None else onnx.helper.get_attribute_value(value)

    def array(self, position: int) -> np.ndarray:
        """An input that must be there.

        Raises:
            Unknown: It is left out.
        """
        found = self.arrays[position] if position < len(self.arrays) else None
        if found is None:
            raise Unknown
        return found

    def has(self, position: int) -> bool:
        """Whether an input is given."""
        return position < len(self.arrays) and self.arrays[position] is not None

    def floats(self, position: int) -> Tensor:
        """An input as float32: integers of 8 bits, or real numbers."""
        return torch.from_numpy(np.array(self.array(position), np.float32))

    def scale(self, position: int) -> Tensor:
        """A step: 0-d, or 1-d if there is one per channel."""
        found = self.floats(position).flatten()
        return found[0] if len(found) == 1 else found

    def zero(self, position: int) -> Tensor:
        """Zero points as float32, likewise; 0 if they are left out."""
        return self.scale(position) if self.has(position) else torch.tensor(0.0)

    def stepped(self, position: int) -> Stepped:
        """A step and the zero point behind it, one for the whole tensor.

        Raises:
            Unknown: There are several.
        """
        scale, zero = self.scale(position), self.zero(position + 1)
        if scale.ndim or zero.ndim:
            raise Unknown
        return Stepped(scale, int(zero))

    def limits(self, position: int) -> Limits:
        """The smallest and the largest integer of the type of an input.

        Raises:
            Unknown: It has not 8 bits.
        """
        return limits_of(self.array(position).dtype)


def limits_of(dtype: np.dtype) -> Limits:
    """The smallest and the largest integer of a type of 8 bits.

    Raises:
        Unknown: It is another type.
    """
    if dtype.name not in _LIMITS:
        raise Unknown
    return _LIMITS[dtype.name]


def integers(values: Tensor, dtype: np.dtype) -> np.ndarray:
    """Whole numbers as an array of an integer type."""
    return values.numpy().astype(dtype)
