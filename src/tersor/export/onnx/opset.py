"""Chooses the version of the operator set of a file, and converts the file if it must be."""

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from tersor.errors import ExportError
from tersor.frontend.onnx.older_opsets import forget_types

#: The least opset → what needs it.
_PER_CHANNEL = 13, "scales per channel"
_NARROW_AND_WIDE = 21, "integers of 4 and of 16 bits"
_WIDE = {ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.INT4, ir.DataType.UINT4}
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def with_opset(model: ir.Model, wanted: int | None = None) -> ir.Model:
    """Convert a file to the opset that is wanted, or that it needs.

    Args:
        model: The file; it may be changed.
        wanted: The version; None keeps the file's own, or takes the least that it needs.

    Returns:
        The file in that version.

    Raises:
        ExportError: The file needs a later one, or cannot be converted.
    """
    have, (needed, what) = model.opset_imports.get("", 1), _needed(model)
    version = max(have, needed) if wanted is None else wanted
    if version < needed:
        raise ExportError(
            f"opset={version}: the file has {what}, which need opset {needed} or later; give "
            f"{needed}, or leave the option out"
        )
    if version != have:
        changed = sorted(set(_changed(model, have, version)))
        model = _converted(model, version, changed) if changed else model
        model.graph.opset_imports[""] = version
    _raise_ir_version(model)
    return model


def _needed(model: ir.Model) -> tuple[int, str]:
    """The least opset that a file needs for its integers, and why."""
    least = 1, "nothing"
    for node in model.graph.all_nodes():
        if node.op_type in _QUANTIZERS and node.domain == "":
            kinds = {value.dtype for value in node.inputs if value is not None}
            if kinds & _WIDE:
                return _NARROW_AND_WIDE
            least = _PER_CHANNEL
    return least


def _changed(model: ir.Model, have: int, version: int) -> Iterator[str]:
    """The ops of a file that are not the same in another version."""
    for node in model.graph.all_nodes():
        if node.domain in ("", "ai.onnx"):
            before, after = (_since(node.op_type, opset) for opset in (have, version))
            if before is None or after is None or before != after:
                yield node.op_type


def _since(op_type: str, opset: int) -> int | None:
    try:
        return onnx.defs.get_schema(op_type, opset).since_version
    except onnx.defs.SchemaError:
        return None


def _converted(model: ir.Model, version: int, changed: list[str]) -> ir.Model:
    try:
        proto = onnx.version_converter.convert_version(ir.to_proto(model), version)
        converted = ir.from_proto(proto)
    except Exception as error:
        have = model.opset_imports.get("", 1)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(
            f"the file has opset {have} and cannot be converted to opset {version}: "
            f"{', '.join(changed)} are other ops there ({reason[0][:200]})"
        ) from error
    forget_types(converted, model)
    for new, old in zip(converted.graph.outputs, model.graph.outputs, strict=True):
        new.shape = old.shape  # the converter puts numbers in the place of names
    converted.metadata_props.update(model.metadata_props)
    converted.producer_name, converted.producer_version = (
        model.producer_name,
        model.producer_version,
    )
    return converted


def _raise_ir_version(model: ir.Model) -> None:
    known = [
        onnx.helper.make_opsetid(domain, opset)
        for domain, opset in model.opset_imports.items()
        if domain == ""
    ]
    least = onnx.helper.find_min_ir_version_for(known, ignore_unknown=True)
    model.ir_version = max(model.ir_version or 1, least)
