"""The opsets that can be read from ONNX files, the ops with an ATen form, and quantized files."""

from collections.abc import Sequence

import onnx_ir as ir

from tersor.errors import InvalidModelError, UnsupportedError
from tersor.frontend.onnx.table import OPS

OPSETS = range(1, 29)
#: The last one with a QuantizeLinear that onnxruntime computes.
NEWEST = 27
#: Those that are read as they are if `tersor.frontend.onnx.older_opsets` cannot convert them.
READ_AS_IT_IS = range(11, 29)
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
            "export it again with one of these"
        )
    return opset


def check_quantized(nodes: Sequence[ir.Node], dequantize: bool) -> None:
    """Refuse a quantized file.

    Args:
        nodes: All nodes of the file.
        dequantize: Whether QuantizeLinear and DequantizeLinear can be read.

    Raises:
        InvalidModelError: The file is quantized.
    """
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


def is_known(node: ir.Node) -> bool:
    """Whether a node has an ATen form, as far as its type says."""
    return _is_onnx(node) and node.op_type in OPS


def type_of(node: ir.Node) -> str:
    """The type of a node, with its domain unless that is ONNX's own."""
    name = node.op_type if _is_onnx(node) else f"{node.domain}.{node.op_type}"
    return " ".join(name.split())  # a damaged file has line breaks in names
