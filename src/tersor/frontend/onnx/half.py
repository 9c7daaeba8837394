"""Lets files in float16, bfloat16 or double compute in float32; their ends keep their types."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import onnx
import onnx_ir as ir

from tersor.frontend.onnx.weightless import without_weights

_HALVES = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
#: Attributes that hold a type, which a node computes in or returns.
_TYPES = ("to", "dtype", "stash_type", "softmax_precision")


def widen(model: ir.Model) -> tuple[str, ...]:
    """Let a file compute in float32, with a Cast at inputs and outputs of another type.

    Args:
        model: Edited in place. A file in float32 stays as it is, also where some of its nodes
            compute in double: only one with a matrix in double is a file in double.

    Returns:
        What was done, in words; nothing for a file that stays as it is.

    Raises:
        InferenceError: A node reads a type that it does not take.
    """
    graph = model.graph
    ends = {value.name: value.dtype for value in (*graph.inputs, *graph.outputs)}
    others = _HALVES | ({ir.DataType.DOUBLE} if _is_double(graph) else set())
    found = {*map(_dtype, _values(graph)), *ends.values()} & others
    if not found:
        return ()
    _check_types(model)
    for value in _values(graph):
        _widen_value(value, others)
    for node in graph.all_nodes():
        _widen_attributes(node, others)
    for value in list(graph.inputs):
        if (dtype := ends[value.name]) in others and dtype:
            _cast_input(graph, value, dtype)
    for position, value in enumerate(list(graph.outputs)):
        if (dtype := ends[value.name]) in others and dtype and value not in graph.inputs:
            _cast_output(graph, position, dtype)
    kinds = " and ".join(sorted(kind.name.lower() for kind in found if kind))
    return (f"computed in float32: the file has values in {kinds}",)


def _is_double(graph: ir.Graph) -> bool:
    stored = [value.const_value for value in _values(graph) if value.const_value is not None]
    return any(x.dtype == ir.DataType.DOUBLE and len(x.shape) > 1 for x in stored)


def _check_types(model: ir.Model) -> None:
    """Refuse a file that mixes types by mistake, which would become sound.

    Half precision where an op has none is fine: it computes in float32 now.
    """
    try:
        with without_weights(model):
            onnx.shape_inference.infer_shapes(ir.to_proto(model), check_type=True)
    except onnx.shape_inference.InferenceError as error:
        if "unsupported type" not in str(error):
            raise


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    for part in (graph, *graph.subgraphs()):
        yield from chain(part.inputs, part.initializers.values())
        for node in part:
            yield from node.outputs


def _dtype(value: ir.Value) -> ir.DataType | None:
    return value.dtype if value.const_value is None else value.const_value.dtype


def _widen_value(value: ir.Value, others: set[ir.DataType]) -> None:
    if _dtype(value) not in others:
        return
    if value.const_value is not None:
        value.const_value = _widened(value.const_value)
    value.dtype = ir.DataType.FLOAT


def _widened(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _widen_attributes(node: ir.Node, others: set[ir.DataType]) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in others:
            node.attributes[name] = ir.AttrTensor(name, _widened(attribute.value))
        elif name in _TYPES and attribute.value in others:
            node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT)


def _cast_input(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> None:
    value.dtype = dtype
    cast = _cast(value, ir.DataType.FLOAT, f"{value.name}_float32")
    for user, position in tuple(value.uses()):
        if user is not cast:
            user.replace_input_with(position, cast.outputs[0])
    first = next(iter(graph), None)
    if first is None:
        graph.append(cast)
    else:
        graph.insert_before(first, cast)


def _cast_output(graph: ir.Graph, position: int, dtype: ir.DataType) -> None:
    value = graph.outputs[position]
    name = str(value.name)
    value.name = f"{name}_float32"
    cast = _cast(value, dtype, name)
    graph.append(cast)
    graph.outputs[position] = cast.outputs[0]


def _cast(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    result = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
    attribute = ir.AttrInt64("to", dtype)
    return ir.Node("", "Cast", [value], [attribute], outputs=[result], name=f"{name}_cast")
