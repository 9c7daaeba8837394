"""Reads an ONNX file as plain data, and refuses a file that is damaged or cannot be run.

Local functions are inlined, Constant nodes become stored values, and nodes are in execution order.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from tersor.errors import InvalidInputError, InvalidModelError, TersorError, UnsupportedError
from tersor.frontend.explain import first_line
from tersor.frontend.onnx.branches import fold_branches, lift_weights
from tersor.frontend.onnx.carry import Source
from tersor.frontend.onnx.copies import read_originals
from tersor.frontend.onnx.dequantize import dequantize as make_float
from tersor.frontend.onnx.dtypes import NARROW, TORCH
from tersor.frontend.onnx.example_sizes import Sizes, filled, from_note
from tersor.frontend.onnx.file_contents import Contents, Input, unnamed
from tersor.frontend.onnx.fixed_inputs import Fixed, fix_inputs
from tersor.frontend.onnx.joined_nodes import joined
from tersor.frontend.onnx.node import Node
from tersor.frontend.onnx.normalize import normalize
from tersor.frontend.onnx.opening import open_file
from tersor.frontend.onnx.scaled import check_scaled
from tersor.frontend.onnx.sequences import expand_sequences
from tersor.frontend.onnx.stored import as_array, check_external, constant_array
from tersor.frontend.onnx.supported import check_quantized, is_known, is_pair, opset_of, type_of


def read(path: str | Path, dequantize: bool = False, fix: Fixed | None = None) -> Contents:
    """Read an ONNX file.

    Args:
        path: The file. Weights may be in other files in its folder.
        dequantize: Whether to convert a quantized file back to float.
        fix: Name of an input → its value, which is stored in its place.

    Raises:
        InvalidInputError: There is no such file, or no such input to fix.
        InvalidModelError: The file is damaged, inconsistent, or already quantized.
        UnsupportedError: Its opset or the type of an input cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInputError(f"{str(path)!r}: there is no such file")
    if not path.stat().st_size:
        raise InvalidModelError(f"{str(path)!r} is empty; copy or export it again")
    try:
        return contents_of(*_load(path, fix or {}), dequantize)
    except TersorError as error:
        text = " ".join(str(error).split())  # names in a file may have line breaks
        raise type(error)(f"{str(path)!r}: {text}") from error
    except Exception as error:
        raise InvalidModelError(
            f"{str(path)!r} is no sound ONNX file: {first_line(_cause(error))}. It may be "
            "truncated, or not an ONNX file at all; copy or export it again"
        ) from error


def _cause(error: Exception) -> Exception:
    """What went wrong first: onnx-ir wraps an error once for each level of the file."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _load(path: Path, fix: Fixed) -> tuple[ir.Model, tuple[str, ...]]:
    model, opened = open_file(path)
    check_external(model, path.parent.resolve())
    model, changes = normalize(model)
    fix_inputs(model, fix)
    name_nodes(model)
    fold_branches(model)
    read_originals(model)
    changes = (*changes, *expand_sequences(model))
    lift_weights(model)
    name_nodes(model)
    return model, (*opened, *changes)


def name_nodes(model: ir.Model) -> None:
    """Give every node of the graph a name of its own, where the file has none or the same twice.

    Args:
        model: The file; edited in place.
    """
    taken: set[str] = set()
    for node in model.graph:
        base = node.name or next((v.name for v in node.outputs if v.name), None) or node.op_type
        name, number = base, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        node.name = name
        taken.add(name)


def contents_of(
    model: ir.Model, changes: tuple[str, ...] = (), dequantize: bool = False
) -> Contents:
    """Read a file that is loaded: its nodes in execution order, each with a name of its own.

    Args:
        model: The file.
        changes: What was done to it since it was loaded, in words.
        dequantize: Whether to convert a quantized file back to float.

    Raises:
        InvalidModelError: The file is inconsistent, or already quantized.
        UnsupportedError: Its opset or the type of an input cannot be read.
    """
    graph, opset = model.graph, opset_of(model)
    found = list(graph)
    check_quantized(found, dequantize)
    stored = graph.initializers.values()
    constants = {str(v.name): as_array(v.const_value, str(v.name)) for v in stored}
    nodes = []
    for group in joined(model):
        node = group[-1]
        if node.op_type == "Constant":
            constants[str(node.outputs[0].name)] = constant_array(node)
        else:
            nodes.append(_part(group, model) if len(group) > 1 else _node(node, opset, model))
    noted = from_note(model.metadata_props)
    inputs = tuple(_input(v, noted) for v in graph.inputs if v.name not in constants)
    outputs = tuple(str(value.name) for value in graph.outputs)
    contents = Contents(inputs, outputs, constants, tuple(nodes), model, changes)
    _check_values(contents)
    if not dequantize:
        check_scaled(contents)
    contents = make_float(contents) if dequantize else contents
    return replace(contents, constants={k: _widened(x) for k, x in contents.constants.items()})


def _widened(value: np.ndarray) -> np.ndarray:
    """Integers of up to 4 bits in a type that PyTorch computes with; what reads them casts them."""
    dtype = ir.DataType.from_numpy(value.dtype)
    return value.astype(np.int8 if dtype.is_signed() else np.uint8) if dtype in NARROW else value


def _part(group: list[ir.Node], model: ir.Model) -> Node:
    """Several nodes as one, with the name of the last one, which computes what others read."""
    source, ops = Source(group, model), dict.fromkeys(map(type_of, group))
    return Node(", ".join(ops), str(group[-1].name), source.reads, source.writes, source=source)


def _node(node: ir.Node, opset: int, model: ir.Model) -> Node:
    outputs = tuple(value.name or "" for value in node.outputs)
    source = None if is_pair(node) else Source([node], model)
    if source is not None and not is_known(node):
        return Node(type_of(node), str(node.name), source.reads, source.writes, source=source)
    return Node(
        op=node.op_type,
        name=str(node.name),
        inputs=tuple("" if value is None else str(value.name) for value in node.inputs),
        outputs=outputs,
        attributes=dict(_attributes(node, opset)),
        opset=opset,
        source=source,
    )


_PLAIN = {
    ir.AttributeType.INT,
    ir.AttributeType.FLOAT,
    ir.AttributeType.STRING,
    ir.AttributeType.INTS,
    ir.AttributeType.FLOATS,
    ir.AttributeType.STRINGS,
}


def _attributes(node: ir.Node, opset: int) -> Iterator[tuple[str, Any]]:
    known = onnx.defs.get_schema(node.op_type, opset).attributes
    for name, attribute in node.attributes.items():
        wanted = ir.AttributeType(int(known[name].type)) if name in known else attribute.type  # type: ignore[call-overload]
        if wanted != attribute.type:
            raise InvalidModelError(
                f"attribute {name!r} of node {node.name!r} ({node.op_type}) is of type "
                f"{attribute.type.name}; the operator takes {wanted.name}"
            )
        if attribute.type in _PLAIN:
            value = attribute.value
            yield name, tuple(value) if isinstance(value, list | tuple) else value
        elif attribute.type == ir.AttributeType.TENSOR:
            yield name, as_array(attribute.value, f"{node.name}.{name}")
        else:
            raise UnsupportedError(
                f"attribute {name!r} of node {node.name!r} is a {attribute.type}, which cannot be "
                "read"
            )


def _input(value: ir.Value, noted: Sizes) -> Input:
    dtype = None if value.dtype is None else TORCH.get(value.dtype)
    if value.dtype == ir.DataType.STRING:
        readers = ", ".join(dict.fromkeys(node.op_type for node in value.consumers()))
        raise UnsupportedError(
            f"input {value.name!r} is text, which is read by {readers or 'nothing'}; quantize the "
            "part behind that alone: cut the file there with onnx.utils.extract_model, and compute "
            "the rest in front of it"
        )
    if dtype is None or value.shape is None:
        raise UnsupportedError(
            f"input {value.name!r} has type {value.type} and shape {value.shape}; only tensors "
            "with a known number of axes can be read. Store the shape in the file, with names for "
            "open axes, as onnx.tools.update_model_dims does"
        )
    name, shape = str(value.name), tuple(_sizes(value.name, value.shape))
    return Input(name, dtype, shape, filled(shape, noted.get(name, ())))


def _sizes(name: str | None, shape: ir.Shape) -> Iterator[int | str]:
    """Sizes, and names of open axes; one without a name, or with a question mark, gets its own."""
    for axis, size in enumerate(shape):
        known = size if isinstance(size, int) else size.value
        is_told = known not in (None, "", "?")
        yield known if known is not None and is_told else unnamed(str(name), axis)


def _check_values(contents: Contents) -> None:
    """Check that every value has one origin, which comes before its readers."""
    _check_ends(contents)
    known = {*contents.constants, *(x.name for x in contents.inputs)}
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


def _check_ends(contents: Contents) -> None:
    ends = {"inputs": [x.name for x in contents.inputs], "outputs": contents.outputs}
    for what, names in ends.items():
        if len({*names}) < len(names):
            raise InvalidModelError(f"two {what} have the same name")
