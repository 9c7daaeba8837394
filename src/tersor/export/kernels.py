"""Finds the layers of a file that a runtime computes in integers, and why the others stay in float.

onnxruntime decides when it loads the file. So it is asked for the graph that it makes, whose nodes
are matched with those of the file by name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from tersor.export.onnx.folded_weights import scaled_integers
from tersor.export.onnx.recurrent_weights import RECURRENT
from tersor.export.onnx.rewrite import producer
from tersor.export.onnx.tidy import WEIGHTED, stored_weight
from tersor.export.sessions.openvino import OpenVINORuntime
from tersor.export.sessions.runtime import Config, Runtime
from tersor.files import temporary_folder
from tersor.frontend.onnx.opening import open_file

#: Integer kernels of convolution and linear layers → the position of their weight.
INTEGER = {
    "QLinearConv": 3,
    "ConvInteger": 1,
    "QGemm": 3,
    "QLinearMatMul": 3,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
}
_RECURRENT = {op: positions[0] for op, positions in RECURRENT.items()}


@dataclass(frozen=True)
class Kernel:
    """How onnxruntime computes one convolution or linear layer.

    Attributes:
        layer: Name of the node in the file, which is the user's name of the layer.
        op: Type of the node in the file.
        kernel: Type of the node that onnxruntime makes of it, or the kernel's name in OpenVINO.
        reason: Why it stays in float; empty for integer kernels.
    """

    layer: str
    op: str
    kernel: str
    reason: str

    @property
    def is_integer(self) -> bool:
        """True if it runs on integers."""
        return not self.reason


def kernels(path: str | Path, config: Config = ()) -> list[Kernel]:
    """Find the kernel of every convolution and linear layer of a file.

    Args:
        path: An ONNX file.
        config: Session options; see `Runtime`.

    Returns:
        One entry per node with a weight, in the order of the file.
    """
    optimized = optimized_nodes(path, config)
    found = []
    for node, weight in _weighted(path):
        kernel = _kernel(str(node.name), weight, optimized) or node.op_type
        reason = "" if kernel in INTEGER else _reason(node)
        found.append(Kernel(str(node.name), node.op_type, kernel, reason))
    return found


def openvino_kernels(path: str | Path) -> list[Kernel]:
    """Find the kernels in OpenVINO, which names them by instruction set and precision."""
    primitives = list(OpenVINORuntime(path).primitives())
    found = []
    for node, _ in _weighted(path):
        # A node that loses its bias is renamed; the last one has the name of the output.
        names = {f"{node.name}/WithoutBiases", *(str(value.name) for value in node.outputs)}
        names.add(str(node.name))
        kernel = next((kernel for nodes, kernel in primitives if names & nodes), "unknown")
        reason = "" if kernel.endswith("_I8") else "OpenVINO computes it in floating point"
        found.append(Kernel(str(node.name), node.op_type, kernel, reason))
    return found


def _weighted(path: str | Path) -> Iterator[tuple[ir.Node, str]]:
    """Find each node with a weight, and the name of the weight; those of branches and loops, too.

    A weight is stored, or computed of what is stored; then it has no name.
    """
    known: dict[ir.Value, bool] = {}
    for node in open_file(path)[0].graph.all_nodes():
        position = (WEIGHTED | INTEGER | _RECURRENT).get(node.op_type)
        weight = _foreign_weight(node) if position is None else stored_weight(node, position)
        is_fixed = position is not None and _is_fixed(node.inputs[position], known)
        if weight is not None or is_fixed:
            yield node, "" if weight is None else str(weight.name)


def _is_fixed(value: ir.Value | None, known: dict[ir.Value, bool]) -> bool:
    """Whether a value is computed of stored values alone."""
    if value is None or value.is_initializer():
        return value is not None
    if value not in known:
        maker = value.producer()
        known[value] = maker is not None and all(
            _is_fixed(x, known) for x in maker.inputs if x is not None
        )
    return known[value]


def _foreign_weight(node: ir.Node) -> ir.Value | None:
    """The first stored matrix of floats that a node of another domain reads, such as FusedConv."""
    if node.domain in ("", "ai.onnx"):
        return None
    stored = [x for x in node.inputs if x is not None and x.const_value is not None]
    found = (x for x in stored if x.dtype == ir.DataType.FLOAT and len(x.shape or ()) > 1)
    return next(found, None)


def optimized_nodes(path: str | Path, config: Config) -> list[onnx.NodeProto]:
    """The nodes that onnxruntime makes of a file when it loads it.

    Args:
        path: An ONNX file.
        config: Session options; see `Runtime`.
    """
    with temporary_folder() as folder:
        optimized = folder / "optimized.onnx"
        Runtime(path, config=config, optimized_path=optimized)
        return list(onnx.load(str(optimized), load_external_data=False).graph.node)


def _kernel(name: str, weight: str, optimized: list[onnx.NodeProto]) -> str | None:
    """Find the type of the node that replaced this node: the same name, or else the same weight."""
    for node in optimized:
        # A change of layout appends `_token_7` to a name, and a product may join its addition.
        changed = (f"{name}_token_", f"{name}/MatMulAddFusion")
        if name and (node.name == name or node.name.startswith(changed)):
            return node.op_type
    if not name:
        for node in optimized:
            if node.op_type in INTEGER and weight and weight in node.input:
                return node.op_type
    return None


def _reason(node: ir.Node) -> str:
    return _missing_kernel(node) or _in_float_here(node)


def _missing_kernel(node: ir.Node) -> str:
    """Why a node has no integer kernel whatever it reads; empty for those that may have one."""
    position = (WEIGHTED | INTEGER | _RECURRENT).get(node.op_type)
    stored = None if position is None else stored_weight(node, position)
    is_float = stored is None or stored.dtype == ir.DataType.FLOAT
    note = "" if is_float else "; its weights are stored as integers"
    if node.op_type in _RECURRENT:
        return f"onnxruntime has no integer kernel for {node.op_type}{note}"
    if node.domain not in ("", "ai.onnx"):
        return f"{node.op_type} of {node.domain} is carried over from the float file as it is"
    if node.op_type == "ConvTranspose":
        return f"onnxruntime has no integer kernel for transposed convolutions{note}"
    is_folded = position is not None and scaled_integers(node.inputs[position]) is not None
    return f"it computes in float{note}" if is_folded else ""


def _in_float_here(node: ir.Node) -> str:
    weight = producer(node.inputs[WEIGHTED[node.op_type]], "DequantizeLinear")
    x = producer(node.inputs[0], "DequantizeLinear")
    if weight is None:
        is_stored = stored_weight(node, WEIGHTED[node.op_type]) is not None
        return "its weight is not quantized" if is_stored else "its weight is computed in float"
    if x is None:
        return "its input is not quantized"
    for what, read in (("weight", weight), ("input", x)):
        # The file gives the type of an intermediate value only through its zero point.
        known = [value.dtype for value in read.inputs[0:3:2] if value is not None and value.dtype]
        if known and known[0] not in (ir.DataType.INT8, ir.DataType.UINT8):
            return f"its {what} is {known[0]}; integer kernels read 8 bits"
    readers = sorted({reader.op_type for reader in node.outputs[0].consumers()})
    if node.op_type == "Conv" and (
        readers != ["QuantizeLinear"] or len(node.outputs[0].uses()) > 1
    ):
        return f"its output is not quantized but read by {', '.join(readers) or 'nothing'}"
    return "onnxruntime has no integer kernel for this combination"
