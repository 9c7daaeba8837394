"""Parts of an ONNX file inside a file of a result: nothing in them lies elsewhere.

onnxruntime would read weights that a part says to be in another file.
"""

import base64
import zlib
from collections.abc import Iterator
from typing import Any

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from tersor.graph.carried import CARRIED

_LARGEST = 1 << 31
_SHRUNK = 100  # how many times larger than its text a part may be, ...
_SMALL = 1 << 24  # ... unless it is no larger than this


def check_part(target: object, args: list[Any]) -> None:
    """Check the text of a carried part, if a call has one.

    Args:
        target: What is called.
        args: Its arguments as they stand in the file.

    Raises:
        ValueError: The part is damaged, or reads another file.
    """
    if target is not CARRIED:
        return
    if len(args) != 2 or not isinstance(args[1], str):
        raise ValueError("a carried part has no text")
    raw = base64.b64decode(args[1].partition(":")[2], validate=True)
    reader = zlib.decompressobj()
    content = reader.decompress(raw, min(_LARGEST, max(_SMALL, _SHRUNK * len(raw))))
    if not reader.eof:
        raise ValueError("a carried part is truncated, or far larger than its text")
    check_inside(ModelProto.FromString(content))


def check_inside(model: ModelProto) -> None:
    """Check that a model has all its weights inside.

    Args:
        model: The model.

    Raises:
        ValueError: Names the weight that is said to be in another file.
    """
    for tensor in _all_tensors(model):
        if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
            raise ValueError(f"weight {tensor.name[:80]!r} is said to be in another file")


def _all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from _in_graph(model.graph)
    for function in model.functions:
        yield from _in_nodes(function.node)
        yield from (x for attribute in function.attribute_proto for x in _in_attribute(attribute))
    for training in model.training_info:
        yield from _in_graph(training.initialization)
        yield from _in_graph(training.algorithm)


def _in_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from _in_sparse(sparse)
    yield from _in_nodes(graph.node)


def _in_sparse(value: SparseTensorProto) -> Iterator[TensorProto]:
    yield from (value.values, value.indices)


def _in_nodes(nodes: Any) -> Iterator[TensorProto]:
    node: NodeProto
    for node in nodes:
        for attribute in node.attribute:
            yield from _in_attribute(attribute)


def _in_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    yield from (attribute.t, *attribute.tensors)
    for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
        yield from _in_sparse(sparse)
    for graph in (attribute.g, *attribute.graphs):
        yield from _in_graph(graph)
