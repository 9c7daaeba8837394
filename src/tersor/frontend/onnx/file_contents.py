"""The contents of an ONNX file, as plain data."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from tersor.frontend.onnx.node import Node


@dataclass(frozen=True)
class Input:
    """An input of a file.

    Attributes:
        name: The file's name.
        dtype: Its type.
        shape: Sizes, and names of the axes without a size: the file's own, or made up.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...]


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
