"""The scale and zero point of a QuantizeLinear or DequantizeLinear node, and its arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from tersor.errors import InvalidModelError
from tersor.frontend.onnx.dtypes import TORCH
from tersor.frontend.onnx.node import Node


@dataclass(frozen=True)
class Grid:
    """The numbers that integers stand for: `(q − zero) scale`.

    Attributes:
        scale: One number, one per index of `axis`, or one per block of indices.
        zero: The zero points, in the shape of the scale.
        axis: The axis along which scales differ.
        block: Indices per scale along the axis, or 0.
        dtype: Type of the integers.
        node: The QuantizeLinear or DequantizeLinear node, for errors.
    """

    scale: np.ndarray
    zero: np.ndarray
    axis: int
    block: int
    dtype: ir.DataType
    node: Node

    @property
    def number_type(self) -> torch.dtype:
        """The dtype of the numbers."""
        return TORCH[ir.DataType.from_numpy(self.scale.dtype)]

    @property
    def ends(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        return int(self.dtype.min), int(self.dtype.max)

    @property
    def begins_at_zero(self) -> bool:
        """Whether the range of the whole tensor begins at 0."""
        return self.scale.ndim == 0 and float(self.zero) == self.ends[0]

    def same(self, other: "Grid") -> bool:
        """Whether both grids give the same value to each integer."""
        if self.scale.ndim and (self.axis, self.block) != (other.axis, other.block):
            return False
        return np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)

    def values(self, integers: np.ndarray) -> np.ndarray:
        """Compute the numbers that integers stand for, in the dtype of the scale.

        Args:
            integers: Stored integers, or a single one.

        Raises:
            InvalidModelError: Scales do not fit the shape of the integers.
        """
        wide = np.float64 if integers.dtype.itemsize > 2 else np.float32
        scale, zero = (self._along(x, integers.shape) for x in (self.scale, self.zero))
        return np.asarray((integers.astype(wide) - zero) * scale.astype(wide), self.scale.dtype)

    def _along(self, numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Reshape scales or zero points so that they broadcast over a tensor of this shape."""
        if numbers.ndim == 0:
            return numbers
        if not -len(shape) <= self.axis < len(shape):
            raise unfit(self.node, f"has axis {self.axis} for integers of shape {list(shape)}")
        axis, size = range(len(shape))[self.axis], shape[self.axis]
        if self.block:
            blocks = -(-size // self.block)
            wanted = (*shape[:axis], blocks, *shape[axis + 1 :])
        else:
            wanted = (size,)
        if numbers.shape != wanted:
            raise unfit(
                self.node, f"has {list(numbers.shape)} scales for integers of shape {list(shape)}"
            )
        if self.block:
            return np.repeat(numbers, min(self.block, size), axis).take(range(size), axis)
        return numbers.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def grid_of(node: Node, constants: Mapping[str, np.ndarray]) -> Grid:
    """Read the grid of a QuantizeLinear or DequantizeLinear node.

    Args:
        node: The node.
        constants: The stored values of the file.

    Raises:
        InvalidModelError: Its scale or zero point is not stored, or the two do not fit each other.
    """
    given = [name for name in node.inputs[1:] if name]
    numbers = [constants[name] for name in given if name in constants]
    if not given or len(numbers) < len(given):
        raise unfit(node, "has a scale or zero point that is not stored")
    scale, *rest = numbers
    zero = rest[0] if rest else np.zeros(scale.shape, np.uint8)
    dtype = ir.DataType.from_numpy(zero.dtype)
    if not rest and node.get("output_dtype"):
        dtype = ir.DataType(node.get("output_dtype"))
    if zero.size == 1:  # one for all scales
        zero = np.full(scale.shape, zero.reshape(()))
    if scale.dtype.kind != "f" or not dtype.is_integer() or zero.shape != scale.shape:
        raise unfit(
            node, "has a scale that is not a float, or a zero point that does not fit the scale"
        )
    if scale.size == 1:
        scale, zero = scale.reshape(()), zero.reshape(())
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    return Grid(scale, zero.astype(np.float32), axis, block, dtype, node)


def unfit(node: Node, what: str) -> InvalidModelError:
    """Build the error that says why a quantized file cannot be converted back to float.

    Args:
        node: The node that is in the way.
        what: What it does.
    """
    return InvalidModelError(
        f"ONNX node {node.name!r} ({node.op}) {what}; the file cannot be converted back to float, "
        "so use the float file"
    )
