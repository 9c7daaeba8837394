"""How long onnxruntime takes for single calls in floats and in integers, on one thread.

The rows behind the constants of `tersor.quant.speed.ONNXRUNTIME`: each call is timed in a chain of
copies, and the shortest of several times counts. `per` says of what a rate is given: a
multiply-accumulate, a number of the output, or a place of the kernel at a position.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.harness.table import Table
from tersor.export.sessions.latency import CALM, in_turns
from tersor.export.sessions.runtime import Runtime

COPIES, ROUNDS = 8, 20
GRID = ["s", "z"]


@dataclass(frozen=True)
class Case:
    """A call, in floats and in integers.

    Attributes:
        what: Title of the row.
        shape: Shape of the input; the output has the same.
        floating: Makes the float node of a copy from the names of its input and its output.
        integer: Likewise for integers.
        stored: The stored tensors.
        per: What the rate is given for.
        units: How many of those a call has.
    """

    what: str
    shape: tuple[int, ...]
    floating: Callable[[str, str], onnx.NodeProto]
    integer: Callable[[str, str], onnx.NodeProto]
    stored: dict[str, np.ndarray] = field(default_factory=dict)
    per: str = "number"
    units: float = 1


def convolution(channels: int, size: int, kernel: int, groups: int = 1) -> Case:
    """A convolution that keeps the number of channels and the size."""
    rng = np.random.default_rng(0)
    shape = (channels, channels // groups, kernel, kernel)
    given: dict[str, Any] = {"pads": [kernel // 2] * 4, "group": groups}
    stored = {
        "w": (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32),
        "q": rng.integers(-64, 64, shape).astype(np.int8),
        "ws": np.full(channels, 0.001, np.float32),
        "wz": np.zeros(channels, np.int8),
    }
    return Case(
        f"{'depthwise' if groups > 1 else 'convolution'} {channels}, {size}², {kernel}×{kernel}",
        (1, channels, size, size),
        lambda x, y: helper.make_node("Conv", [x, "w"], [y], **given),
        lambda x, y: helper.make_node(
            "QLinearConv", [x, *GRID, "q", "ws", "wz", *GRID], [y], **given
        ),
        stored,
        "MAC",
        float(np.prod(shape)) * size * size,
    )


def elementwise(op: str, reads: int, size: int = 56, channels: int = 64) -> Case:
    """A sum, a product or a function of one value."""
    shape = (1, channels, size, size)

    def integer(x: str, y: str) -> onnx.NodeProto:
        inputs = [value for _ in range(reads) for value in (x, *GRID)]
        return helper.make_node(f"QLinear{op}", [*inputs, *GRID], [y], domain="com.microsoft")

    return Case(
        f"{op} {channels}, {size}²",
        shape,
        lambda x, y: helper.make_node(op, [x] * reads, [y]),
        integer,
        units=float(np.prod(shape)),
    )


def cases() -> list[Case]:
    """The rows of the table."""
    plain = [(16, 56, 3), (64, 28, 3), (64, 28, 1), (128, 14, 1), (256, 7, 1), (32, 56, 1)]
    found = [convolution(*sizes) for sizes in plain]
    found += [convolution(3, 224, 3), convolution(8, 112, 3)]
    deep = [(64, 28, 3), (128, 14, 3), (32, 112, 3), (64, 14, 5), (96, 22, 5)]
    found += [convolution(*sizes, groups=sizes[0]) for sizes in deep]
    pairs = [("Add", 2), ("Mul", 2), ("Sigmoid", 1), ("LeakyRelu", 1)]
    return found + [elementwise(op, reads) for op, reads in pairs]


def main() -> None:
    """Print the table: one row per call."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    table = Table(parser.parse_args(), "call", "per", "float, ns", "integer, ns", "ratio")
    for case in cases():
        floating, integer = times(case)
        rates = [1e9 * seconds / case.units for seconds in (floating, integer)]
        cells = [f"{rate:.4f}" for rate in rates]
        table.add(case.what, case.per, *cells, f"{integer / floating:.2f}", call=case.what)
    conversions(table)


def times(case: Case) -> tuple[float, float]:
    """Seconds of a call in floats and in integers."""
    ends = [("QuantizeLinear", "x", "v0"), ("DequantizeLinear", f"v{COPIES}", "y")]
    first, last = (helper.make_node(op, [x, *GRID], [y]) for op, x, y in ends)
    chain = [case.integer(f"v{i}", f"v{i + 1}") for i in range(COPIES)]
    names = ["x", *[f"v{i}" for i in range(1, COPIES)], "y"]
    plain = [case.floating(a, b) for a, b in pairwise(names)]
    ends_alone = [first, helper.make_node("DequantizeLinear", ["v0", *GRID], ["y"])]
    floats, both, alone = timed(case, [plain, [first, *chain, last], ends_alone])
    return floats / COPIES, (both - alone) / COPIES


def conversions(table: Table) -> None:
    """Add the row of a value that becomes integers and floats again."""
    case = elementwise("Add", 2)
    pair = [
        helper.make_node("QuantizeLinear", ["x", *GRID], ["v0"]),
        helper.make_node("DequantizeLinear", ["v0", *GRID], ["y"]),
    ]
    (seconds,) = timed(case, [pair])
    rate = 1e9 * seconds / case.units
    table.add("QuantizeLinear and DequantizeLinear", "number", "–", f"{rate:.4f}", "–", rate=rate)


def timed(case: Case, files: list[list[onnx.NodeProto]]) -> list[float]:
    """The shortest times of some files."""
    stored = {**case.stored, "s": np.array(0.02, np.float32), "z": np.array(128, np.uint8)}
    x = np.random.default_rng(0).standard_normal(case.shape).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for nodes in files:
            path = Path(folder) / f"{len(runs)}.onnx"
            onnx.save(_model(nodes, stored, case.shape), path)
            runs.append((Runtime(path, config=CALM, threads=1), {"x": x}))
        return [min(seconds) for seconds in zip(*in_turns(runs, ROUNDS), strict=True)]


def _model(
    nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray], shape: tuple[int, ...]
) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    read = {name for node in nodes for name in node.input}
    kept = [numpy_helper.from_array(value, name) for name, value in stored.items() if name in read]
    graph = helper.make_graph(nodes, "calls", [x], [y], kept)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


if __name__ == "__main__":
    main()
