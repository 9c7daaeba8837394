"""Nodes that have no ATen form are carried: each becomes one call that onnxruntime computes.

The node is kept as it is in the file, sub-graphs included. What it and its sub-graphs read are
inputs of the call, but small stored values, such as axes, go inside.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper
from torch import Tensor

from tersor.errors import UnsupportedError
from tersor.frontend.onnx.bounded import compute_bounded
from tersor.frontend.onnx.dtypes import TORCH, as_array
from tersor.frontend.onnx.node import Node
from tersor.graph.carried import carried_op
from tersor.graph.carried_model import encode, run

#: Stored values of more elements are tensors of the graph, under the file's own names.
LARGEST_INSIDE = 16
_ONNX = {dtype: int(number) for number, dtype in TORCH.items()}
#: `Dropout` is carried only if it is in training mode.
_RANDOM = frozenset(
    {
        *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"),
        *("Bernoulli", "Multinomial", "Dropout"),
    }
)


class Source:
    """A node as it is in the file. It is never edited, and copies share it.

    Attributes:
        nodes: The node, serialized; several if values between them are no tensors.
        opsets: Domain → version of the operator set, as the file says.
        ir_version: Version of the file format.
        reads: Names of the values that it reads from outside, each once.
        writes: Names of the values that it computes, without those that are left out; of several
            nodes, without those that only they read.
        sizes_as: The types of values that it reads, as far as the file says: sizes may be of any.
    """

    def __init__(self, nodes: Sequence[ir.Node], model: ir.Model) -> None:
        """Note the nodes.

        Args:
            nodes: The nodes, in execution order.
            model: The file.
        """
        self._nodes: list[Any] = list(nodes)
        self.opsets = dict(model.opset_imports)
        self.ir_version = model.ir_version
        inside = {value for node in nodes for value in node.outputs}
        found = [v for node in nodes for v in read_by(node) if v not in inside]
        self.reads = tuple(dict.fromkeys(str(value.name) for value in found))
        self.writes = tuple(str(value.name) for value in _written(nodes) if value.name)
        self.sizes_as = {str(v.name): TORCH[t] for v, t in _types(nodes, found) if t and t in TORCH}

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes, serialized."""
        return [ir.to_proto(n) if isinstance(n, ir.Node) else n for n in self._nodes]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Source":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_nodes": self.nodes}


def read_by(node: ir.Node) -> Iterator[ir.Value]:
    """The values that a node and its sub-graphs read from outside, in order.

    Args:
        node: The node.
    """
    yield from (value for value in node.inputs if value is not None)
    for graph in sub_graphs(node):
        yield from _read_outside(graph)


def sub_graphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that a node holds itself, such as the body of a `Loop`.

    Args:
        node: The node.
    """
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _written(nodes: Sequence[ir.Node]) -> Iterator[ir.Value]:
    """The values that nodes compute, those of several only if others read them."""
    own = {*nodes}
    for node in nodes if len(nodes) > 1 else ():
        own |= {inner for graph in sub_graphs(node) for inner in graph.all_nodes()}
    for value in (value for node in nodes for value in node.outputs):
        is_read = value.is_graph_output() or any(use.node not in own for use in value.uses())
        if is_read or len(nodes) == 1:
            yield value


def _types(
    nodes: Sequence[ir.Node], read: Sequence[ir.Value]
) -> Iterator[tuple[ir.Value, ir.DataType | None]]:
    """The types of values that nodes read; the body of a loop says those of its first values."""
    for node in nodes:
        if node.op_type == "Loop" and "body" in node.attributes:
            inside = node.attributes["body"].as_graph().inputs
            pairs = zip(node.inputs, inside, strict=False)
            yield from ((value, own.dtype) for value, own in pairs if value is not None)
    yield from ((value, value.dtype) for value in read)


def _read_outside(graph: ir.Graph) -> Iterator[ir.Value]:
    inside = {*graph.inputs, *graph.initializers.values()}
    inside |= {value for node in graph for value in node.outputs}
    for node in graph:
        yield from (value for value in read_by(node) if value not in inside)
    yield from (value for value in graph.outputs if value not in inside)


def carry(
    node: Node, values: Mapping[str, Tensor | np.ndarray], constants: Mapping[str, np.ndarray]
) -> list[Any]:
    """Compute a node in onnxruntime: a call in the graph, or arrays if it reads no tensor.

    Args:
        node: The node.
        values: The values that it reads, by name.
        constants: The stored values among them, as arrays.

    Returns:
        Its outputs in order; None for those that are left out.

    Raises:
        UnsupportedError: onnxruntime cannot run it, or it is random.
        InvalidModelError: It cannot be computed on these values.
    """
    part = node.source
    assert isinstance(part, Source)
    if node.op in _RANDOM:
        raise UnsupportedError(
            f"ONNX node {node.name!r} ({node.op}) draws random numbers; use a network without, "
            "exported in inference mode"
        )
    read = dict.fromkeys(filter(None, node.inputs))  # may have other names than in the file
    given = {
        name: _plain(values[own], part.sizes_as.get(name, torch.int64))
        for name, own in zip(part.reads, read, strict=True)
    }
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    stored = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    sizes = {
        own: constants[n].shape for own, n in zip(part.reads, read, strict=True) if n in constants
    }
    text = encode(_model(part, tensors, stored, sizes))
    if tensors:
        found: Sequence[Any] = carried_op(list(tensors.values()), text)
    else:
        found = run(text, [], compute_bounded)
    results = iter(found)
    return [next(results) if name else None for name in node.outputs]


def compute_stored(part: Source, stored: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Compute a part that reads only a few known numbers, and costs next to nothing.

    Args:
        part: The part.
        stored: What it reads, by name.

    Raises:
        TersorError: It cannot be computed.
    """
    return run(encode(_model(part, {}, stored, {})), [])


def _plain(value: Tensor | np.ndarray, dtype: torch.dtype) -> Tensor | np.ndarray:
    """An array with a free size as a tensor, and a known one of the type that the file says."""
    if isinstance(value, Tensor):
        return value
    if value.dtype != object:
        is_size = value.dtype == np.int64 and not (dtype.is_floating_point or dtype == torch.bool)
        return as_array(torch.from_numpy(np.array(value)).to(dtype)) if is_size else value
    parts = [torch.scalar_tensor(size, dtype=dtype) for size in value.ravel().tolist()]
    return torch.stack(parts).reshape(value.shape)


def _model(
    part: Source,
    tensors: Mapping[str, Tensor],
    stored: Mapping[str, np.ndarray],
    sizes: Mapping[str, tuple[int, ...]],
) -> onnx.ModelProto:
    graph = onnx.GraphProto(name="carried", node=part.nodes)
    for name, value in tensors.items():
        kind = _ONNX[value.dtype]
        shape = sizes.get(name, [None] * value.ndim)  # some ops need the sizes of their weights
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    graph.initializer.extend(numpy_helper.from_array(x, name) for name, x in stored.items())
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in part.writes)
    opsets = [onnx.helper.make_opsetid(*pair) for pair in part.opsets.items()]
    return onnx.ModelProto(ir_version=part.ir_version, graph=graph, opset_import=opsets)
