"""Runs the graph that onnxruntime makes of a file, node by node, in the kernels' own arithmetic.

onnxruntime rewrites a file when it loads it: layers between QuantizeLinear and DequantizeLinear
become one integer kernel each. That graph is what runs, so it is what is simulated. A node whose
arithmetic is in `core.mlas` is computed there. All others are run by onnxruntime itself, alone:
those that only move values, those between layers that are in float, whose sums no one else adds in
the same order, and the few integer kernels that are not known.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tersor.data.given.feeds import Arrays
from tersor.export.kernels import INTEGER
from tersor.export.proof.exact import layer_kernels, value_kernels
from tersor.export.proof.exact.call import Call, Unknown
from tersor.export.proof.exact.in_runtime import Alone, reads
from tersor.export.sessions.machine import saturates
from tersor.export.sessions.runtime import Config, Runtime
from tersor.files import temporary_folder

_OWN = ("QLinear", "DynamicQuantize")  # what names of further integer kernels begin with
_CHANGED = re.compile(r"_token_\d+$")  # what a change of layout appends to a name
#: Operator → its arithmetic.
KNOWN: dict[str, Callable[[Call], np.ndarray]] = {
    "QuantizeLinear": value_kernels.quantize_linear,
    "DequantizeLinear": value_kernels.dequantize_linear,
    "QLinearConv": layer_kernels.qlinear_conv,
    "ConvInteger": layer_kernels.conv_integer,
    "QGemm": layer_kernels.qgemm,
    "QLinearMatMul": layer_kernels.qlinear_matmul,
    "MatMulInteger": layer_kernels.matmul_integer,
    "MatMulIntegerToFloat": layer_kernels.matmul_integer_to_float,
    "QLinearAdd": value_kernels.qlinear_add,
    "QLinearMul": value_kernels.qlinear_mul,
    "QLinearGlobalAveragePool": value_kernels.qlinear_global_average_pool,
    "QLinearAveragePool": value_kernels.qlinear_average_pool,
    "QLinearConcat": value_kernels.qlinear_concat,
    "QLinearSigmoid": value_kernels.qlinear_sigmoid,
    "QLinearLeakyRelu": value_kernels.qlinear_leaky_relu,
}


class ExactSimulation:
    """One file, in the arithmetic of the kernels that onnxruntime takes for it on this machine.

    Attributes:
        model: The graph that onnxruntime makes of the file.
        file: The file, as users run it.
        computed: Name → operator of the nodes that were computed here, once it ran.
        left: Name → operator of the other nodes, which the runtime computed.
        others_by: What computed those.
        saturated: Name → share of the sums that saturate, where some do.
    """

    others_by = "onnxruntime"

    def __init__(self, path: str | Path, config: Config = ()) -> None:
        """Look the graph up.

        Args:
            path: The file.
            config: Session options that users of the file set.
        """
        with temporary_folder() as folder:
            optimized = folder / "optimized.onnx"
            self.file = Runtime(path, config=config, optimized_path=optimized)
            self.model = onnx.load(str(optimized))
        self._saturates = saturates()
        stored = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._constants = {name: numpy_helper.to_array(tensor) for name, tensor in stored.items()}
        self._alone = [Alone(node, self.model, stored) for node in self.model.graph.node]
        self._last = _last_readers(self.model.graph)
        self.computed: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self.saturated: dict[str, float] = {}

    @property
    def unknown(self) -> dict[str, str]:
        """Name → operator of integer kernels whose arithmetic is not known."""
        found = self.left.items()
        return {name: op for name, op in found if op in INTEGER or op.startswith(_OWN)}

    @property
    def others(self) -> int:
        """Number of the other nodes. They move values or are in float."""
        return len(self.left) - len(self.unknown)

    def numbers(self, feed: Arrays) -> list[np.ndarray]:
        """Run arrays; returns the outputs that are numbers, in order."""
        values = self.start(feed)
        wanted = {value.name for value in self.model.graph.output}
        for position, node in enumerate(self.model.graph.node):
            found = self.compute(node, values)
            if found is None:
                outputs = [name for name in node.output if name]
                values.update(zip(outputs, self._alone[position](values), strict=True))
            else:
                values[node.output[0]] = found
            (self.left if found is None else self.computed)[name_of(node)] = node.op_type
            for name in self._last[position]:
                if name not in wanted:
                    values.pop(name, None)
        return [values[name] for name in self.file.compared]

    def start(self, feed: Arrays) -> dict[str, Any]:
        """The values that are known before the first node: inputs and stored ones."""
        names = [value.name for value in self.model.graph.input if value.name in feed]
        return {**self._constants, **{name: feed[name] for name in names}}

    def compute(self, node: onnx.NodeProto, values: Mapping[str, Any]) -> np.ndarray | None:
        """The output of a node in the kernels' arithmetic, or None if that is not known.

        Args:
            node: A node of the graph.
            values: Name → value, of all that it reads.
        """
        known = KNOWN.get(node.op_type)
        if known is None:
            return None
        call = Call(node, [values[x] if x else None for x in node.input], self._saturates)
        try:
            found = known(call)
        except Unknown:
            return None
        if call.saturated:
            name = name_of(node)
            self.saturated[name] = max(call.saturated, self.saturated.get(name, 0.0))
        return found


def name_of(node: onnx.NodeProto) -> str:
    """The name of a node as in the file, or else that of its output."""
    return _CHANGED.sub("", node.name) or node.output[0]


def _last_readers(graph: onnx.GraphProto) -> list[list[str]]:
    """For each node, the values that no later node reads."""
    last = {name: i for i, node in enumerate(graph.node) for name in (*reads(node), *node.output)}
    found: list[list[str]] = [[] for _ in graph.node]
    for name, position in last.items():
        found[position].append(name)
    return found
