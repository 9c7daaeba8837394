"""The contents of an ONNX file, as plain data."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from tersor.frontend.onnx.node import Node


def unnamed(name: str, axis: int) -> str:
    """The name of an open axis that has none in the file.

    Args:
        name: The input.
        axis: The position of the axis.
    """
    return f"{name}_axis_{axis}"


@dataclass(frozen=True)
class Input:
    """An input of a file.

    Attributes:
        name: The file's name.
        dtype: Its type.
        shape: Sizes, and names of the axes without a size: the file's own, or made up.
        usual: Its shape with the sizes that the file notes for open axes but the batch.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...]
    usual: tuple[int | str, ...]

    @property
    def open_axes(self) -> str:
        """The names of the open axes, but for the batch, in words."""
        axes = [
            f"axis {axis}" if size == unnamed(self.name, axis) else repr(size)
            for axis, size in enumerate(self.shape)
            if axis and isinstance(size, str)
        ]
        listed = " and ".join(filter(None, [", ".join(axes[:-1]), *axes[-1:]]))
        return f"{listed} of input {self.name!r}"

    @property
    def as_option(self) -> str:
        """A shape of this input as one writes it on the command line."""
        picture = [size if isinstance(size, int) else 224 for size in self.shape[1:]]
        return ",".join(map(str, [1, *picture]))


@dataclass(frozen=True)
class Contents:
    """The contents of a file.

    Attributes:
        inputs: Inputs in order, without those that have a stored value.
        outputs: Names of the outputs in order.
        constants: Name → stored value.
        nodes: Nodes in execution order.
        model: The file that these were read from; None once they are no longer what it holds.
        changes: What was done to the file first, in words.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    constants: dict[str, np.ndarray]
    nodes: tuple[Node, ...]
    model: ir.Model | None
    changes: tuple[str, ...] = ()
