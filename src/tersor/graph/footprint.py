"""The footprint of a node of a file: the calls that compute it, as text, and what they read.

Two footprints with the same text compute the same from what they read. So a node of the file whose
footprint still has the text that it had when the file was read can stay in the file: only its
inputs may be others.
"""

import operator
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from tersor.graph.network import Network
from tersor.graph.nodes import source
from tersor.graph.ops import WEIGHTED
from tersor.graph.origin import Record

_LONG = 200  # characters; a part that is carried over from a file is one long text


@dataclass(frozen=True)
class Footprint:
    """The calls of one node of a file.

    Attributes:
        ops: The ops with their settings.
        reads: The nodes that they read from outside, quantizers among them; None for a bias that a
            layer does not have.
        calls: The calls, in execution order.
        inner: Quantizers between the calls; they are not in the text.
    """

    ops: str
    reads: tuple[fx.Node | None, ...]
    calls: tuple[fx.Node, ...]
    inner: tuple[fx.Node, ...] = ()

    @property
    def parts(self) -> dict[int, int]:
        """Item of a result with several → number of the call that picks it."""
        return {
            int(call.args[1]): number  # type: ignore[arg-type]
            for number, call in enumerate(self.calls)
            if call.target is operator.getitem and isinstance(call.args[1], int)
        }


def file_node(node: fx.Node) -> str | None:
    """The name of the file's node that a call belongs to; None for a call that a pass inserted."""
    return (node.meta.get("custom") or {}).get("onnx") if node.op == "call_function" else None


def footprints(graph: fx.Graph) -> dict[str, Footprint]:
    """The footprint of every node of the file that has calls in the graph, by name."""
    groups: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        name = file_node(node)
        if name is not None:
            groups.setdefault(name, []).append(node)
    return {name: _footprint(calls) for name, calls in groups.items()}


def references(network: Network, prints: Mapping[str, Footprint]) -> dict[fx.Node, str]:
    """A name for everything that calls read that does not depend on the names of graph nodes.

    Args:
        network: The network.
        prints: Its footprints.
    """
    inputs = network.graph.find_nodes(op="placeholder")
    found = {node: f"input {number}" for number, node in enumerate(inputs)}
    stored = network.graph.find_nodes(op="get_attr")
    found.update({node: stored_reference(str(node.target)) for node in stored})
    for name, footprint in prints.items():
        found.update({call: reference(name, k) for k, call in enumerate(footprint.calls)})
    return found


def reference(name: str, number: int) -> str:
    """The name of a call: the file's node, and the number of the call among its calls."""
    return f"call {number} of {name}"


def stored_reference(name: str) -> str:
    """The name of a stored value, given its name in the `state_dict`."""
    return f"stored {name}"


def record(
    network: Network, as_stored: Collection[str]
) -> tuple[dict[str, Record], tuple[str, ...], dict[str, int]]:
    """Record the calls of every node, what the outputs are, and checksums of stored values.

    Args:
        network: A network as it was read.
        as_stored: Names in the `state_dict` that need no checksum.
    """
    prints = footprints(network.graph)
    names = references(network, prints)
    records = {
        name: Record(
            found.ops,
            tuple("" if read is None else names.get(read, "?") for read in found.reads),
            found.parts,
            len(found.calls),
        )
        for name, found in prints.items()
    }
    outputs = tuple(names.get(node, "?") for node in output_nodes(network))
    stored = {str(node.target): node for node in network.graph.find_nodes(op="get_attr")}
    others = {name: node for name, node in stored.items() if name not in as_stored}
    return records, outputs, {k: checksum(network.tensor(node)) for k, node in others.items()}


def output_nodes(network: Network) -> list[fx.Node]:
    """The nodes that the network returns, in order."""
    found: list[fx.Node] = []
    fx.map_arg(network.graph.output_node().args[0], found.append)
    return found


def checksum(value: Tensor) -> int:
    """A number that is another one if the value was changed."""
    return zlib.crc32(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())


def _footprint(calls: list[fx.Node]) -> Footprint:
    reader = _Reader({call: number for number, call in enumerate(calls)})
    text = "; ".join(map(reader.text, calls))
    return Footprint(text, tuple(reader.reads), tuple(calls), tuple(reader.inner))


class _Reader:
    """Writes calls as text, and collects what they read.

    Attributes:
        inside: The calls of the node, with their numbers.
        reads: What was read from outside so far.
        inner: Quantizers between the calls so far.
    """

    def __init__(self, inside: Mapping[fx.Node, int]) -> None:
        self.inside = inside
        self.reads: list[fx.Node | None] = []
        self.inner: list[fx.Node] = []

    def text(self, call: fx.Node) -> str:
        """One call."""
        args, named = list(call.args), dict(call.kwargs)
        bias: Any = None
        if call.target in WEIGHTED:  # a bias may come and go
            bias = args.pop(2) if len(args) > 2 else named.pop("bias", None)
        parts = [self._describe(arg) for arg in args]
        parts += [f"{key}={self._describe(value)}" for key, value in sorted(named.items())]
        if call.target in WEIGHTED:
            self.reads.append(bias)
        is_aten = isinstance(call.target, torch._ops.OpOverload)
        op = call.target if is_aten else getattr(call.target, "__name__", call.target)
        return f"{op}({', '.join(parts)})"

    def _describe(self, value: Any) -> str:
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self._describe, value))}]"
        if not isinstance(value, fx.Node):
            text = repr(value)
            return text if len(text) < _LONG else f"text {zlib.crc32(text.encode())}"
        before = source(value)
        if before in self.inside:
            self.inner += [] if value is before else [value]
            return f"call {self.inside[before]}"
        if _is_size(before):  # no change of a network changes a free size
            return f"size {before.target}"
        self.reads.append(value)
        return "*"


def _is_size(node: fx.Node) -> bool:
    value = node.meta.get("val")
    is_number = isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool | int | float)
    return node.op == "call_function" and is_number
