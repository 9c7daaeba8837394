"""Opens a file: what onnx-ir does not read gets a form that it reads, and that means the same.

Sparse stored values become dense, and operator sets that the file uses but does not import are
imported, as onnxruntime does.
"""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from tersor.errors import InvalidModelError
from tersor.frontend.onnx.branches import graphs_in
from tersor.frontend.onnx.constant_budget import check_counts
from tersor.frontend.onnx.stored import check_shapes
from tersor.frontend.onnx.tail import cut_tail

_FIRST_WITH_OPSETS = 3  # version of the format; before it, there was one opset
_LARGEST = 1 << 27  # elements of a sparse value as a dense one; a damaged file may say anything


def open_file(path: str | Path) -> tuple[ir.Model, tuple[str, ...]]:
    """Load a file; its weights stay where they are until they are read.

    Args:
        path: The file.

    Returns:
        The file, and what was changed in it, in words that a user should read.

    Raises:
        InvalidModelError: A stored value is damaged.
        UnsupportedError: Nothing but text, maps and sequences is computed, or complex numbers.
    """
    proto = onnx.load(path, load_external_data=False)
    check_counts(proto)
    check_shapes(proto)
    count = _densify(proto.graph)
    if not proto.opset_import and proto.ir_version < _FIRST_WITH_OPSETS:
        proto.opset_import.add(version=1)
    _import_domains(proto)
    tail = cut_tail(proto)
    model = ir.from_proto(proto)
    ir.external_data.set_base_dir(model.graph, Path(path).parent)
    told = (f"{count} sparse values are stored as dense ones",) if count else ()
    return model, (*told, *tail)


def _densify(graph: onnx.GraphProto) -> int:
    """Store sparse initializers and sparse Constants as dense ones; returns how many there were."""
    found = list(graph.sparse_initializer)
    graph.initializer.extend(_dense(value, value.values.name) for value in found)
    del graph.sparse_initializer[:]
    count = len(found)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
                dense = _dense(attribute.sparse_tensor, node.name)
                attribute.CopyFrom(onnx.helper.make_attribute("value", dense))
                count += 1
            count += sum(map(_densify, graphs_in(attribute)))
    return count


def _dense(value: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    if prod(value.dims) > _LARGEST or not value.dims or min(value.dims) < 0:
        raise InvalidModelError(
            f"sparse value {name!r} has shape {list(value.dims)}; store it as a dense tensor"
        )
    numbers, places = numpy_helper.to_array(value.values), numpy_helper.to_array(value.indices)
    dense = np.zeros(value.dims, numbers.dtype)
    try:
        dense[np.unravel_index(places, value.dims) if places.ndim == 1 else tuple(places.T)] = (
            numbers
        )
    except (IndexError, ValueError) as error:
        raise InvalidModelError(f"sparse value {name!r} is damaged: {error}") from error
    return numpy_helper.from_array(dense, name)


def _import_domains(model: onnx.ModelProto) -> None:
    known = {entry.domain for entry in model.opset_import} | {"", "ai.onnx"}
    wanted: dict[str, int] = {}
    for node in _nodes(model.graph.node):
        if node.domain not in known:
            wanted[node.domain] = max(wanted.get(node.domain, 1), _version(node))
    model.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in wanted.items())


def _version(node: onnx.NodeProto) -> int:
    """The newest version of an op's definition; 1 for an op that onnx does not define."""
    if not onnx.defs.has(node.op_type, node.domain):
        return 1
    return onnx.defs.get_schema(node.op_type, node.domain).since_version


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in graphs_in(attribute):
                yield from _nodes(graph.node)
