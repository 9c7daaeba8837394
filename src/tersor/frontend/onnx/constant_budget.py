"""Bounds what reading a file may cost: a small file can ask for any amount of memory and of time.

Everything is counted before it is done.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import onnx
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tersor.errors import InvalidModelError, UnsupportedError
from tersor.frontend.onnx.branches import graphs_in
from tersor.frontend.onnx.node import Node

_NODES = 16_000  # which are read and captured in 7 CPU seconds
_WEIGHTS = 4096  # bytes of stored values for which a file may have one node more
_FEW_NODES = 2000  # beyond these, functions may not make many of few
_COPIES = 50
_INPUTS = 1000
_BYTES = 1 << 28  # of what is computed from stored values, beyond a multiple of these
_TIMES = 4
_WORK = 5e10  # additions and multiplications, and what takes as long
_MOVED = 32  # of them take as long as a byte that is read or written
_INTEGERS = 20  # times that products of integers take longer
_SECONDS = 6.0  # of the processor, for all that onnxruntime computes
_DIGITS = 15  # of a size
_WINDOWS = ("kernel_shape", "size")


def check_counts(model: onnx.ModelProto) -> None:
    """Refuse a file with too many inputs, or too many nodes once its functions are inlined.

    Args:
        model: The file.

    Raises:
        InvalidModelError: A function calls itself.
        UnsupportedError: There are too many.
    """
    functions = {(f.domain, f.name): f for f in model.functions}
    counts: dict[tuple[str, str], int | None] = {}

    def count(nodes: Iterable[onnx.NodeProto]) -> int:
        return sum(count_node(node) for node in nodes)

    def count_node(node: onnx.NodeProto) -> int:
        key = node.domain, node.op_type
        if key in functions and key not in counts:
            counts[key] = None
            counts[key] = count(functions[key].node)
        found = counts.get(key, 1)
        if found is None:
            raise InvalidModelError(
                f"function {node.op_type!r} calls itself; export the file again"
            )
        graphs = [graph for a in node.attribute for graph in graphs_in(a)]
        return found + sum(count(graph.node) for graph in graphs)

    written = len(model.graph.node) + sum(len(f.node) for f in model.functions)
    most_nodes = _NODES + stored_bytes(model.graph) // _WEIGHTS
    most_nodes = min(most_nodes, max(_FEW_NODES, _COPIES * written))
    for what, number, most in (
        ("inputs", len(model.graph.input) - len(model.graph.initializer), _INPUTS),
        ("nodes", count(model.graph.node), most_nodes),
    ):
        if number > most:
            raise UnsupportedError(
                f"it has {number:,} {what} once its functions are inlined, and at most {most:,} "
                "are read; simplify it, or divide it into several files"
            )


def stored_bytes(graph: onnx.GraphProto) -> int:
    """Bytes of the weights of a file; of those beside it, what the file says.

    Args:
        graph: The graph.
    """
    beside = (entry for value in graph.initializer for entry in value.external_data)
    lengths = (entry.value for entry in beside if entry.key == "length")
    return graph.ByteSize() + sum(int(x) for x in lengths if x.isdecimal() and len(x) < _DIGITS)


class Budget:
    """What computing the constants of a file may still cost.

    Attributes:
        bytes: Bytes of memory that results may still take.
        work: Operations that may still be done.
        seconds: Seconds of the processor that other processes may still take for it.
    """

    def __init__(self, stored: int) -> None:
        """Begin.

        Args:
            stored: Bytes that the file stores.
        """
        self.bytes = _BYTES + _TIMES * stored
        self.work = _WORK + _TIMES * _MOVED * stored
        self.seconds = _SECONDS

    def spend(
        self, node: Node, read: Mapping[str, Any], results: Iterable[Any], products: int
    ) -> None:
        """Take what a node costs.

        Args:
            node: The node.
            read: What it reads.
            results: Its results, of which only the sizes are known.
            products: Additions and multiplications of its products of matrices.

        Raises:
            InvalidModelError: It is too much.
        """
        sizes = [(x.nbytes, x) for x in results]
        taken = sum(size for size, _ in sizes)
        windows = prod(prod(_numbers(node.get(name, 1))) for name in _WINDOWS)
        exact = any(isinstance(x, Tensor) and not x.is_floating_point() for _, x in sizes)
        self.bytes -= taken
        self.work -= _MOVED * (sum(x.nbytes for x in read.values()) + taken * windows)
        self.work -= products * (_INTEGERS if exact else 1)
        if self.bytes < 0 or self.work < 0:
            what = "memory" if self.bytes < 0 else "time"
            raise InvalidModelError(
                f"ONNX node {node.name!r} ({node.op}) computes {taken:,} bytes from stored values, "
                f"and such nodes take too much {what} together; store the values that they compute"
            )

    @contextmanager
    def aside(self, node: Node) -> Iterator[None]:
        """Take the time of the processes that end while a node is computed.

        Args:
            node: The node.

        Raises:
            InvalidModelError: There is none left.
        """
        if self.seconds <= 0:
            raise InvalidModelError(
                f"ONNX node {node.name!r} ({node.op}) is computed from stored values, and such "
                "nodes take too much time together; store the values that they compute"
            )
        before = os.times()
        try:
            yield
        finally:
            now = os.times()
            self.seconds -= now.children_user - before.children_user
            self.seconds -= now.children_system - before.children_system


def counted() -> FlopCounterMode:
    """Counts additions and multiplications of the products of matrices that are computed inside."""
    return FlopCounterMode(display=False)


def _numbers(value: Any) -> tuple[int, ...]:
    found = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(x for x in found if isinstance(x, int))  # an unknown op may call a text so
