"""Writes carried parts back: their own nodes, as they were in the file."""

from collections.abc import Sequence
from typing import Any

import onnx
import onnx_ir as ir
from onnx import version_converter
from onnxscript import evaluator

from tersor.errors import ExportError
from tersor.graph.carried import CARRIED
from tersor.graph.carried_model import decode, describe


def _to_onnx(inputs: Sequence[Any], model: str) -> tuple[ir.Value, ...]:
    """Record the nodes of a part where `torch.onnx.export` translates a call."""
    recorder: Any = evaluator.default()
    part = ir.from_proto(_converted(decode(model), recorder.opset.version)).graph
    stored = list(part.initializers.values())
    for value in stored:
        constant = ir.node("Constant", [], {"value": value.const_value})
        recorder.nodes.append(constant)
        ir.convenience.replace_all_uses_with(value, constant.outputs[0])
    for value, given in zip(part.inputs, inputs, strict=True):
        ir.convenience.replace_all_uses_with(value, given)
    nodes, outputs = list(part), tuple(part.outputs)
    part.outputs.clear()
    for node in nodes:
        part.remove(node)
        recorder.nodes.append(node)
    return outputs


def _converted(part: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The part in another version of the operator set."""
    versions = {item.domain: item.version for item in part.opset_import}
    have = versions.get("", versions.get("ai.onnx", opset))
    if have == opset or all(n.domain not in ("", "ai.onnx") for n in part.graph.node):
        return part
    try:
        return version_converter.convert_version(part, opset)
    except Exception as error:
        raise ExportError(
            f"{describe(part)} cannot be converted from opset {have} to {opset}: {error}"
        ) from error


TRANSLATIONS: dict[Any, Any] = {CARRIED: _to_onnx}
