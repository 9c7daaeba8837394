"""The opsets and ops that can be read from ONNX files. All others are named and refused."""

from collections import Counter
from collections.abc import Sequence

import onnx_ir as ir

from tersor.errors import InvalidModelError, UnsupportedError
from tersor.frontend.onnx.table import OPS

OPSETS = range(11, 29)
#: Ops that quantize and dequantize one value; `tersor.frontend.onnx.dequantize` removes them.
PAIRS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_INTEGER = ("QLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QGemm")


def opset_of(model: ir.Model) -> int:
    """The version of the operator set that the file was written for.

    Args:
        model: The model.

    Raises:
        InvalidModelError: The file names no version.
        UnsupportedError: The version cannot be read.
    """
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if opset is None:
        raise InvalidModelError(
            "the file names no version of the ONNX operator set; export it again"
        )
    if opset not in OPSETS:
        raise UnsupportedError(
            f"the file has opset {opset}, but only opsets {OPSETS[0]} to {OPSETS[-1]} can be read; "
            "convert it with onnx.version_converter.convert_version, or export it again"
        )
    return opset


def check_ops(nodes: Sequence[ir.Node], dequantize: bool) -> None:
    """Refuse a quantized file, and ops that are not in the table.

    Args:
        nodes: All nodes of the file.
        dequantize: Whether QuantizeLinear and DequantizeLinear can be read.

    Raises:
        InvalidModelError: The file is quantized.
        UnsupportedError: Some ops cannot be read; names all of them.
    """
    _check_quantized(nodes, dequantize)
    known = OPS.keys() | PAIRS | {"Constant"}
    unknown = [n for n in nodes if not is_pair(n) and not (_is_onnx(n) and n.op_type in known)]
    if unknown:
        counts = Counter(_type(node) for node in unknown)
        first = {_type(node): node.name for node in reversed(unknown)}
        listed = ", ".join(
            f"{kind} ({count}×{f', such as {first[kind]!r}' if first[kind] else ''})"
            for kind, count in counts.items()
        )
        raise UnsupportedError(
            f"ops that cannot be read: {listed}. Export the model without them, or quantize the "
            "part of the model before them"
        )


def _check_quantized(nodes: Sequence[ir.Node], dequantize: bool) -> None:
    integer = [n for n in nodes if n.op_type.startswith(_INTEGER)]
    pairs = [n for n in nodes if is_pair(n)]
    found = integer or pairs
    if not found or (dequantize and not integer):
        return
    which = f"{found[0].op_type} {found[0].name!r} and {len(found) - 1} more"
    if integer:
        raise InvalidModelError(
            f"the file is already quantized, with layers that compute on integers ({which}), "
            "which cannot be converted back to float; use the float file"
        )
    raise InvalidModelError(
        f"the file is already quantized ({which}); use the float file, or convert this one back to "
        "float with dequantize=True, on the command line --dequantize"
    )


def is_pair(node: ir.Node) -> bool:
    """Whether the node quantizes or dequantizes; onnxruntime has such ops in its own domain."""
    return node.op_type in PAIRS and (_is_onnx(node) or node.domain == "com.microsoft")


def _is_onnx(node: ir.Node) -> bool:
    return node.domain in ("", "ai.onnx")


def _type(node: ir.Node) -> str:
    return node.op_type if _is_onnx(node) else f"{node.domain}.{node.op_type}"
