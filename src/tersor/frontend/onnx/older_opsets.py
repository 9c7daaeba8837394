"""Brings files of other opsets to one that edits need, and that onnxruntime computes.

Older ones are converted by onnx's own converter, those before opset 7 after
`tersor.frontend.onnx.earliest_opsets`. The newest one is read as the one before it, if
none of the file's ops has changed.
"""

import onnx
import onnx_ir as ir
from onnx import version_converter

from tersor.errors import InvalidModelError, UnsupportedError
from tersor.frontend.explain import first_line
from tersor.frontend.onnx.earliest_opsets import FIRST_BROADCAST, to_first_broadcast
from tersor.frontend.onnx.forgotten import replace_forgotten
from tersor.frontend.onnx.supported import NEWEST, OPSETS, READ_AS_IT_IS, opset_of
from tersor.frontend.onnx.weightless import without_weights

#: The first opset in which DequantizeLinear has a scale per channel.
LEAST = 13
_IR_VERSION = 8  # from 4 on, stored values need not be inputs as well


def convert(model: ir.Model) -> tuple[ir.Model, tuple[str, ...]]:
    """Convert a model to `LEAST` if its opset is lower, and to `NEWEST` if it is higher.

    Args:
        model: The model; its large stored values are shared with the result.

    Returns:
        The model, and what was done to it, in words.

    Raises:
        InvalidModelError: The file names no opset.
        UnsupportedError: Its opset is too old or too new, or cannot be converted.
    """
    opset = opset_of(model)
    if opset >= LEAST:
        return model, _lowered(model, opset)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    if opset < FIRST_BROADCAST:
        _check_types(model, opset)
        to_first_broadcast(model)
    replace_forgotten(model)
    try:
        _check_types(model, opset_of(model))
        with without_weights(model) as kept:
            proto = version_converter.convert_version(ir.to_proto(model), LEAST)
            _check(proto)
            converted = _restored(ir.from_proto(proto), kept)
    except Exception as error:
        if opset in READ_AS_IT_IS:
            return model, ()
        raise UnsupportedError(
            f"the file has opset {opset}, and onnx.version_converter cannot convert it to "
            f"{LEAST}: {first_line(error)}. Export it again with opset {LEAST} or later; "
            f"opsets from {OPSETS[0]} on can be converted if all of their ops can"
        ) from error
    forget_types(converted, model)
    _forget_axes(converted, model)
    converted.metadata_props.update(model.metadata_props)
    return converted, (f"converted from opset {opset} to {LEAST}",)


def _check_types(model: ir.Model, opset: int) -> None:
    """Refuse attributes of another type than their op has: the converter would end the process."""
    for node in model.graph.all_nodes():
        if node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type, opset):
            known = onnx.defs.get_schema(node.op_type, opset).attributes
            for name in known.keys() & node.attributes.keys():
                found = node.attributes[name].type.name
                wanted = str(known[name].type).rpartition(".")[2]
                if found != wanted:
                    raise InvalidModelError(
                        f"ONNX node {node.name!r} ({node.op_type}) has {name!r} as {found} instead "
                        f"of {wanted}"
                    )


def _lowered(model: ir.Model, opset: int) -> tuple[str, ...]:
    """Read a file of a newer opset than `NEWEST` as one of that, if this means the same."""
    own = [n for n in model.graph.all_nodes() if n.domain in ("", "ai.onnx")]
    known = [n for n in own if onnx.defs.has(n.op_type, opset)]
    is_same = all(onnx.defs.get_schema(n.op_type, opset).since_version <= NEWEST for n in known)
    if opset <= NEWEST or not is_same or len(known) < len(own):
        return ()
    model.opset_imports["" if "" in model.opset_imports else "ai.onnx"] = NEWEST
    return (f"read as opset {NEWEST} instead of {opset}: none of its ops has changed",)


def forget_types(converted: ir.Model, model: ir.Model) -> None:
    """Forget the types that the converter inferred: a file has those that its writer gave it.

    Args:
        converted: The converted model; changed in place.
        model: The model that it was.
    """
    made = [value for node in model.graph for value in node.outputs]
    known = {value.name for value in made if value.type is not None}
    for value in (value for node in converted.graph for value in node.outputs):
        if value.name not in known and not value.is_graph_output():
            value.type = value.shape = None


def _forget_axes(converted: ir.Model, model: ir.Model) -> None:
    """Forget the names that the converter made up for axes without one, such as `unk__0`."""
    ends = (*model.graph.inputs, *model.graph.outputs)
    known = {axis.value for v in ends for axis in v.shape or () if isinstance(axis, ir.SymbolicDim)}
    for value in (*converted.graph.inputs, *converted.graph.outputs):
        if value.shape is not None:
            value.shape = ir.Shape(
                None if isinstance(axis, ir.SymbolicDim) and axis.value not in known else axis
                for axis in value.shape
            )


def _check(proto: onnx.ModelProto) -> None:
    """Check that every node is one of the new opset: the converter may leave old attributes."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = proto.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in proto.opset_import}
    for node in proto.graph.node:
        has_graph = any(x.type == onnx.AttributeProto.GRAPH for x in node.attribute)
        if node.domain in ("", "ai.onnx") and not has_graph:
            onnx.checker.check_node(node, context)


def _restored(model: ir.Model, tensors: dict[str, ir.TensorProtocol]) -> ir.Model:
    """Make the inputs that stand for stored values stored values again."""
    graph = model.graph
    for value in [value for value in graph.inputs if value.name in tensors]:
        graph.inputs.remove(value)
        value.const_value = tensors[str(value.name)]
        graph.register_initializer(value)
    return model
