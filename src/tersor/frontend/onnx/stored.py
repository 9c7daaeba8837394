"""Reads the tensors that are stored in an ONNX file, or beside it, as arrays."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from tersor.errors import InvalidModelError, UnsupportedError
from tersor.frontend.onnx.dtypes import NARROW, TORCH
from tersor.graph.carried_model import CUT

_PLACE = b"location"  # the key under which a file says where another one is
_NUMBER = re.compile("[0-9]{1,18}")
_BLOCK = 1 << 20  # bytes that are looked through at a time


def check_external(model: ir.Model, folder: Path) -> None:
    """Check that weights outside the file exist, and lie in the file's own folder.

    Args:
        model: The model.
        folder: The folder of the file, resolved.

    Raises:
        InvalidModelError: A weight is missing, or lies in another folder.
    """
    for name, tensor in _stored(model.graph):
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        file_beside(folder, tensor.location, (tensor.offset or 0) + (tensor.length or 0), name)


def file_beside(folder: Path, location: str | os.PathLike[str], end: int, name: str) -> Path:
    """The file in which a weight is stored beside an ONNX file.

    Args:
        folder: The folder of the ONNX file, resolved.
        location: What the ONNX file says.
        end: How many bytes it has at least.
        name: Name of the weight, for errors.

    Raises:
        InvalidModelError: It is missing, too short, no plain file, or lies in another folder.
    """
    target = (folder / location).resolve()
    if not target.is_relative_to(folder):
        raise InvalidModelError(
            f"weight {name!r} is in {str(location)!r}, outside of the file's folder, "
            "which is refused; keep the weights beside the .onnx file"
        )
    if not target.is_file() or target.stat().st_size < end:
        raise InvalidModelError(
            f"weight {name!r} is missing from {str(location)!r}; keep the weights "
            "beside the .onnx file, under the name they were written with"
        )
    return target


def check_shapes(model: onnx.ModelProto) -> None:
    """Check the sizes and the places of stored tensors: a negative one ends the process in onnx.

    Args:
        model: The file.

    Raises:
        InvalidModelError: A size is negative, or a place in another file is no number.
    """
    for tensor in (x for part in (model.graph, *model.functions) for x in _in_graph(part)):
        if any(size < 0 for size in tensor.dims):
            raise InvalidModelError(
                f"stored value {tensor.name!r} has shape {list(tensor.dims)}; export the file again"
            )
        for entry in tensor.external_data:
            if entry.key in ("offset", "length") and not _NUMBER.fullmatch(entry.value):
                raise InvalidModelError(
                    f"stored value {tensor.name!r} has the {entry.key} {entry.value[:40]!r} in "
                    "another file, which is no number of bytes; export the file again"
                )


def files(path: str | Path) -> set[Path]:
    """An ONNX file, and the files beside it that its weights are in.

    Args:
        path: The file.
    """
    path = Path(path)
    if not _may_read_others(path):
        return {path}
    tensors = _in_graph(onnx.load(path, load_external_data=False).graph)
    outside = (tensor for tensor in tensors if uses_external_data(tensor))
    return {path, *(path.parent / ExternalDataInfo(tensor).location for tensor in outside)}


def _may_read_others(path: Path) -> bool:
    """Whether a file has the key of a place in another file; it is not held in memory for that."""
    last = b""
    with path.open("rb") as file:
        while part := file.read(_BLOCK):
            if _PLACE in last + part:
                return True
            last = part[1 - len(_PLACE) :]
    return False


def size(path: str | Path) -> int:
    """Bytes of an ONNX file and of the weights beside it, if it has some there.

    Args:
        path: The file.
    """
    return sum(file.stat().st_size for file in {file.resolve() for file in files(path)})


def _in_graph(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    """Every tensor in a graph of a file: weights, and attributes of nodes, at any depth."""
    if isinstance(graph, onnx.GraphProto):
        yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for part in (attribute.g, *attribute.graphs):
                yield from _in_graph(part)


def _stored(graph: ir.Graph) -> Iterator[tuple[str, Any]]:
    """Every tensor in the file with its name: weights, and attributes of nodes, at any depth."""
    for part in (graph, *graph.subgraphs()):
        for value in part.initializers.values():
            yield str(value.name), value.const_value
        for node in part:
            for attribute in node.attributes.values():
                yield from ((f"{node.name}.{attribute.name}", x) for x in _tensors(attribute))


def _tensors(attribute: ir.Attr) -> list[Any]:
    if attribute.type == ir.AttributeType.TENSOR:
        return [attribute.value]
    return list(attribute.value) if attribute.type == ir.AttributeType.TENSORS else []


def as_array(tensor: ir.TensorProtocol | None, name: str) -> np.ndarray:
    """Convert a stored tensor to an array; integers of up to 4 bits keep their own type.

    Args:
        tensor: The tensor.
        name: Name of the value, for errors.

    Raises:
        InvalidModelError: It has no values, or their number does not fit its shape.
        UnsupportedError: Its type cannot be read.
    """
    if tensor is None:
        raise InvalidModelError(f"stored value {name!r} has no values")
    if tensor.dtype not in TORCH and tensor.dtype not in NARROW:
        raise UnsupportedError(
            f"stored value {name!r} has type {tensor.dtype}; of the node that reads it: {CUT}"
        )
    array = tensor.numpy()
    if array.shape != tuple(tensor.shape.numpy()):
        raise InvalidModelError(f"stored value {name!r} does not have its declared shape")
    return array


def constant_array(node: ir.Node) -> np.ndarray:
    """Read the value of a Constant node.

    Args:
        node: The node.

    Raises:
        InvalidModelError: See `as_array`.
        UnsupportedError: It is a string, or sparse.
    """
    (attribute,) = node.attributes.values()
    name, value = str(node.outputs[0].name), attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return as_array(value, name)
    if attribute.name in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if attribute.name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    raise UnsupportedError(
        f"constant {name!r} is a {attribute.name}, and only numbers can be read; of the node that "
        f"reads it: {CUT}"
    )
