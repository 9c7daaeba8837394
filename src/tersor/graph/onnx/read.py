"""Read an ONNX file as plain data, and refuse what is damaged or cannot be run.

Local functions are inlined, Constant nodes become stored values, and nodes are in execution order.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import InlinePass, TopologicalSortPass

from tersor.errors import InvalidInputError, InvalidModelError, TersorError, UnsupportedError
from tersor.graph.explain import first_line
from tersor.graph.onnx.dtypes import TORCH
from tersor.graph.onnx.node import Node
from tersor.graph.onnx.table import OPS

OPSETS = range(11, 29)
_QUANTIZED = ("QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_QUANTIZED_TOO = {"ConvInteger", "MatMulInteger", "QGemm"}


@dataclass(frozen=True)
class Input:
    """An input of a file.

    Attributes:
        name: The file's name.
        dtype: Its type.
        shape: Sizes, and names of the axes that have none.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        inputs: Inputs in order, without those that have a stored value.
        outputs: Names of the outputs in order.
        constants: Name → stored value.
        nodes: Nodes in execution order.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    constants: dict[str, np.ndarray]
    nodes: tuple[Node, ...]


def read(path: str | Path) -> Contents:
    """Read an ONNX file.

    Args:
        path: The file. Weights may be in other files of its folder.

    Raises:
        InvalidInputError: There is no such file.
        InvalidModelError: The file is damaged, contradicts itself, or is already quantized.
        UnsupportedError: Its opset or some of its ops cannot be read; names all of them.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInputError(f"{str(path)!r}: there is no such file")
    try:
        return _contents(_load(path))
    except TersorError as error:
        text = " ".join(str(error).split())  # names in a file may have line breaks
        raise type(error)(f"{str(path)!r}: {text}") from error
    except Exception as error:
        raise InvalidModelError(
            f"{str(path)!r} is no sound ONNX file: {first_line(error)}; onnx.checker may say more"
        ) from error


def _load(path: Path) -> ir.Model:
    model = ir.load(path)
    if model.functions:
        InlinePass()(model)
    _check_external(model, path.parent.resolve())
    TopologicalSortPass()(model)
    return model


def _check_external(model: ir.Model, folder: Path) -> None:
    """Weights beside the file must be there, and nothing outside of its folder is opened."""
    for name, tensor in _stored(model.graph):
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        target = (folder / tensor.location).resolve()
        if not target.is_relative_to(folder):
            raise InvalidModelError(
                f"weight {name!r} is in {str(tensor.location)!r}, outside of the file's "
                "folder; that is refused"
            )
        end = (tensor.offset or 0) + (tensor.length or 0)
        if not target.is_file() or target.stat().st_size < end:
            raise InvalidModelError(
                f"weight {name!r} is missing from {str(tensor.location)!r}; keep the weights "
                "beside the .onnx file, under the name they were written with"
            )


def _stored(graph: ir.Graph) -> Iterator[tuple[str, Any]]:
    """Every tensor in the file with its name: weights, and attributes of nodes."""
    for value in graph.initializers.values():
        yield str(value.name), value.const_value
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR:
                yield f"{node.name}.{attribute.name}", attribute.value


def _contents(model: ir.Model) -> Contents:
    graph, opset = model.graph, _opset(model)
    found = list(graph)
    _check_ops(found)
    constants = {str(v.name): _array(v) for v in graph.initializers.values()}
    nodes = []
    for node in found:
        if node.op_type == "Constant":
            constants[str(node.outputs[0].name)] = _constant(node)
        else:
            nodes.append(_node(node, opset))
    inputs = tuple(_input(v) for v in graph.inputs if v.name not in constants)
    outputs = tuple(str(value.name) for value in graph.outputs)
    contents = Contents(inputs, outputs, constants, tuple(nodes))
    _check_values(contents)
    return contents


def _opset(model: ir.Model) -> int:
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if opset is None:
        raise InvalidModelError("the file names no version of the ONNX operator set")
    if opset not in OPSETS:
        raise UnsupportedError(
            f"the file has opset {opset}, and opsets {OPSETS[0]} to {OPSETS[-1]} can be read; "
            "convert it with onnx.version_converter.convert_version, or export it again"
        )
    return opset


def _is_onnx(node: ir.Node) -> bool:
    return node.domain in ("", "ai.onnx")


def _check_ops(nodes: list[ir.Node]) -> None:
    quantized = [
        n for n in nodes if n.op_type.startswith(_QUANTIZED) or n.op_type in _QUANTIZED_TOO
    ]
    if quantized:
        raise InvalidModelError(
            f"the file is already quantized ({quantized[0].op_type} {quantized[0].name!r} and "
            f"{len(quantized) - 1} more); take the float file"
        )
    known = OPS.keys() | {"Constant"}
    unknown = [n for n in nodes if not _is_onnx(n) or n.op_type not in known]
    if unknown:
        counts = Counter(_type(node) for node in unknown)
        first = {_type(node): node.name for node in reversed(unknown)}
        listed = ", ".join(
            f"{kind} ({count}×, such as {first[kind]!r})" for kind, count in counts.items()
        )
        raise UnsupportedError(
            f"ops that cannot be read: {listed}. Export the model without them, or quantize the "
            "part of the model before them"
        )


def _type(node: ir.Node) -> str:
    return node.op_type if _is_onnx(node) else f"{node.domain}.{node.op_type}"


def _array(value: ir.Value) -> np.ndarray:
    tensor = value.const_value
    if tensor is None:
        raise InvalidModelError(f"stored value {value.name!r} has no values")
    return _numpy(tensor, str(value.name))


def _numpy(tensor: ir.TensorProtocol, name: str) -> np.ndarray:
    if tensor.dtype not in TORCH:
        raise UnsupportedError(f"stored value {name!r} has type {tensor.dtype}")
    array = tensor.numpy()
    if array.shape != tuple(tensor.shape.numpy()):
        raise InvalidModelError(f"stored value {name!r} does not have its declared shape")
    return array


def _constant(node: ir.Node) -> np.ndarray:
    (attribute,) = node.attributes.values()
    name, value = str(node.outputs[0].name), attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return _numpy(value, name)
    if attribute.name in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    raise UnsupportedError(f"constant {name!r} is a {attribute.name}; only numbers can be read")


def _node(node: ir.Node, opset: int) -> Node:
    outputs = tuple(value.name or "" for value in node.outputs)
    return Node(
        op=node.op_type,
        name=node.name or next(filter(None, outputs), node.op_type),
        inputs=tuple("" if value is None else str(value.name) for value in node.inputs),
        outputs=outputs,
        attributes=dict(_attributes(node)),
        opset=opset,
    )


_PLAIN = {
    ir.AttributeType.INT,
    ir.AttributeType.FLOAT,
    ir.AttributeType.STRING,
    ir.AttributeType.INTS,
    ir.AttributeType.FLOATS,
    ir.AttributeType.STRINGS,
}


def _attributes(node: ir.Node) -> Iterator[tuple[str, Any]]:
    for name, attribute in node.attributes.items():
        if attribute.type in _PLAIN:
            value = attribute.value
            yield name, tuple(value) if isinstance(value, list | tuple) else value
        elif attribute.type == ir.AttributeType.TENSOR:
            yield name, _numpy(attribute.value, f"{node.name}.{name}")
        else:
            raise UnsupportedError(
                f"attribute {name!r} of node {node.name!r} is a {attribute.type}, which cannot be "
                "read"
            )


def _input(value: ir.Value) -> Input:
    dtype = None if value.dtype is None else TORCH.get(value.dtype)
    if dtype is None or value.shape is None:
        raise UnsupportedError(
            f"input {value.name!r} has type {value.type} and shape {value.shape}; only tensors "
            "with a known number of axes can be read"
        )
    sizes = tuple(d if isinstance(d, int) else (d.value or "?") for d in value.shape)
    if any(isinstance(size, int) and size < 0 for size in sizes):
        raise InvalidModelError(f"input {value.name!r} has shape {sizes}; no size is negative")
    return Input(str(value.name), dtype, sizes)


def _check_values(contents: Contents) -> None:
    """Every value has one origin, which comes before its readers."""
    known = {*contents.constants, *(x.name for x in contents.inputs)}
    if len({x.name for x in contents.inputs}) < len(contents.inputs):
        raise InvalidModelError("two inputs have the same name")
    for node in contents.nodes:
        for name in filter(None, node.inputs):
            if name not in known:
                raise InvalidModelError(
                    f"node {node.name!r} ({node.op}) reads {name!r}, which nothing computes"
                )
        for name in filter(None, node.outputs):
            if name in known:
                raise InvalidModelError(f"{name!r} is computed twice, again by {node.name!r}")
            known.add(name)
    missing = [name for name in contents.outputs if name not in known]
    if missing or not contents.outputs:
        raise InvalidModelError(f"outputs {missing} are computed by nothing")
