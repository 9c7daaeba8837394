"""The value in the file of a node of the network; what has none yet is written."""

import onnx_ir as ir
from torch import Tensor, fx

from tersor.errors import UnmappedError
from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.edit.new_calls import write_call
from tersor.export.onnx.edit.quantizers import is_quantizer, quantized, to_quantize
from tersor.export.onnx.edit.stored_values import (
    constant,
    dequantized,
    is_as_read,
    store_float,
    store_integers,
)
from tersor.graph.footprint import stored_reference


class Values:
    """Finds or writes the value of every node that something reads.

    Attributes:
        draft: The file under construction.
        stored: Stored value or its quantizer, and whether it is turned → value.
        before: The node in front of which stored integers are read; the first one if None.
    """

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.stored: dict[tuple[fx.Node, bool], ir.Value] = {}
        self.before: ir.Node | None = None

    def of(self, node: fx.Node, name: str, turned: bool = False) -> ir.Value:
        """The value of a node.

        Args:
            node: A node of the network: an input, a call, a stored value, a quantizer.
            name: Name of a stored value, if it has to be written.
            turned: Whether the file has a stored value with its two axes exchanged.

        Raises:
            UnmappedError: It has no place in the file.
        """
        while node.op == "call_module" and not is_quantizer(self.draft, node):
            node = node.args[0]  # type: ignore[assignment]
        if node in self.draft.values:
            return self.draft.values[node]
        if node.op == "call_module" and constant(self.draft, _first(node)) is None:
            return self._rounded(node)
        if node.op in ("call_module", "get_attr"):
            return self._stored(node, name, turned)
        if node.op != "call_function":
            raise UnmappedError(f"{node.name!r} is no node of the file")
        self.draft.values[node] = write_call(self.draft, self.of, node, self.before)
        return self.draft.values[node]

    def _rounded(self, node: fx.Node) -> ir.Value:
        source, limits = to_quantize(self.draft, node)
        value = self.of(source, source.name)
        seen = source.meta.get("val")
        rank = seen.ndim if isinstance(seen, Tensor) else 0
        self.draft.values[node] = quantized(self.draft, node, value, limits, rank)
        whole = self.draft.values.get(_first(node))
        if whole is not None:
            self.draft.rounded.setdefault(whole, self.draft.values[node])
        return self.draft.values[node]

    def _stored(self, node: fx.Node, name: str, turned: bool) -> ir.Value:
        key = node, turned
        if key not in self.stored:
            self.stored[key] = self._store(node, name, turned)
        return self.stored[key]

    def _store(self, node: fx.Node, name: str, turned: bool) -> ir.Value:
        draft = self.draft
        if node.op == "get_attr":
            home = draft.homes.get(stored_reference(str(node.target)))
            if home is not None and not turned and is_as_read(draft, node):
                return home
            return store_float(draft, draft.network.tensor(node).detach(), name, turned)
        main, step, zero, axis = store_integers(draft, node, name, turned)
        read = dequantized(main, step, zero, axis)
        draft.graph.insert_before(self.before or draft.graph[0], read)
        read.name = f"{name}_DequantizeLinear"
        draft.wish(f"{name}_dequantized", (read.outputs[0], ""))
        read.outputs[0].shape = main.shape
        return read.outputs[0]


def _first(node: fx.Node) -> fx.Node:
    first = node.args[0]
    assert isinstance(first, fx.Node)
    return first
