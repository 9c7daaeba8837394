"""One node of an ONNX file as plain data, and the entry of the table of ops for its type."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tersor.errors import UnsupportedError


@dataclass(frozen=True)
class Node:
    """One call of an ONNX op.

    Attributes:
        op: Type, such as `"Conv"`.
        name: The file's name of the node, or else of its first output.
        inputs: Names of the values that it reads; empty for an optional input that is left out.
        outputs: Names of the values that it computes; empty for an output that is left out.
        attributes: Plain numbers, strings, tuples and arrays by name.
        opset: Version of the operator set that the file was written for.
        source: The node as it is in the file, to be carried if it has no ATen form; see
            `tersor.frontend.onnx.carry`.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 21
    source: object = field(default=None, compare=False)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or the default."""
        return self.attributes.get(name, default)

    def wants(self, position: int) -> bool:
        """Whether this output is used."""
        return position < len(self.outputs) and self.outputs[position] != ""

    def refuse(self, what: str) -> UnsupportedError:
        """Build an error that names this node."""
        return UnsupportedError(
            f"ONNX node {self.name!r} ({self.op}) {what}; change the model before it is exported, "
            "or quantize the part before this node and run the rest in float"
        )


@dataclass(frozen=True)
class Op:
    """How a type of node is computed.

    Attributes:
        run: Takes the node, then its inputs; optional ones that are left out are None. Returns a
            tensor, a NumPy array that stays out of the graph, or a tuple of those.
        known: Positions of inputs that are read as NumPy arrays while the graph is built, such as
            shapes and axes. -1 stands for all.
        numbers: Positions where a stored input with one number is passed as a Python number, as
            PyTorch's own op takes one there. -1 stands for all.
        scalar_rank: The largest rank of such an input.
        statistics: Positions of inputs that are measured, not trained.
    """

    run: Callable[..., Any]
    known: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    scalar_rank: int = 99
    statistics: tuple[int, ...] = ()

    def takes_number(self, position: int, array: np.ndarray) -> bool:
        """Whether a stored input at this position may be passed as a Python number."""
        is_single = array.size == 1 and array.ndim <= self.scalar_rank
        return is_single and (position in self.numbers or -1 in self.numbers)
