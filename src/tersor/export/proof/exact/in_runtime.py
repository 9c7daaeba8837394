"""Computes one node of a graph in onnxruntime, alone, as it computes it within the graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from tersor.graph import carried_model


class Alone:
    """One node, in a session of its own that is loaded when it is first run."""

    def __init__(
        self, node: onnx.NodeProto, model: onnx.ModelProto, stored: Mapping[str, onnx.TensorProto]
    ) -> None:
        """Remember the node.

        Args:
            node: The node.
            model: The model that it is from.
            stored: Name → stored tensor of the model.
        """
        self._node, self._model = node, model
        self._stored = [stored[name] for name in reads(node) if name in stored]
        kept = {tensor.name for tensor in self._stored}
        self.inputs = tuple(name for name in reads(node) if name not in kept)
        self._session: Any = None

    def __call__(self, values: Mapping[str, Any]) -> list[Any]:
        """Its outputs, in order, without those that are left out.

        Args:
            values: Name → value, of all `inputs`.
        """
        given = {name: values[name] for name in self.inputs}
        if self._session is None:
            self._session = self._load(given)
        return self._session.run(None, given)

    def _load(self, given: Mapping[str, Any]) -> Any:
        graph = onnx.helper.make_graph(
            [self._node],
            "node",
            [_described(name, value) for name, value in given.items()],
            [onnx.ValueInfoProto(name=name) for name in self._node.output if name],
            self._stored,
        )
        model = onnx.helper.make_model(
            graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )
        return carried_model.load(model, carried_model.libraries(), optimize=False)


def reads(node: onnx.NodeProto) -> list[str]:
    """Names of the values that a node reads, those in its branches and loops included."""
    found = dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
        for graph in graphs:
            found.update(dict.fromkeys(_from_outside(graph)))
    return list(found)


def _from_outside(graph: onnx.GraphProto) -> Sequence[str]:
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own.update(name for node in graph.node for name in node.output)
    names = [name for node in graph.node for name in reads(node)]
    names += [value.name for value in graph.output]
    return [name for name in names if name not in own]


def _described(name: str, value: np.ndarray | list[np.ndarray]) -> onnx.ValueInfoProto:
    """The type of a value; lists are sequences of tensors."""
    first = value[0] if isinstance(value, list) else value
    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.asarray(first).dtype)
    if isinstance(value, list):
        return onnx.helper.make_tensor_sequence_value_info(name, dtype, None)
    return onnx.helper.make_tensor_value_info(name, dtype, [None] * np.ndim(value))
