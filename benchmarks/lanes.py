"""Which two weights meet in one lane of the integer kernels: measured, beside what Tersor assumes.

Every two weights of a row are set to 127, one pair per output channel, the others to 0, and all
activations to 255. Where the two meet in saturating 16 bits, the sum is too small. On a CPU with
VNNI nothing meets; run it as on a CPU without:

    python -m benchmarks.without_vnni benchmarks.lanes
    ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.lanes --runtime openvino
"""

import argparse
import itertools
import tempfile
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tersor.core.pairs import lane_partners
from tersor.export.serving import serving
from tersor.export.sessions.machine import doctor
from tersor.names import RuntimeName

LARGEST, ACTIVATION, STEP = 127, 255, 300.0
SIZE = 9  # of every axis of an image


@dataclass(frozen=True)
class Case:
    """One layer: channels and kernel as in the weight, and the attributes of the ONNX node."""

    op: str
    channels: int
    kernel: tuple[int, ...] = ()
    groups: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Input channels of one group."""
        return self.channels // self.groups

    def __str__(self) -> str:
        """One cell of the table."""
        size = "×".join(map(str, self.kernel))
        extras = [f"{name}={value[0]}" for name, value in self.attributes.items()]
        extras += [f"groups={self.groups}"] if self.groups > 1 else []
        return " ".join((self.op, *filter(None, [size]), f"{self.channels} channels", *extras))


CASES = [
    *(Case(op, n) for op in ("Gemm", "MatMul") for n in (2, 3, 4, 7, 17, 32)),
    *(Case("Conv", n, (1, 1)) for n in (2, 3, 4, 7, 17)),
    *(Case("Conv", n, (3, 3)) for n in (1, 2, 3, 4, 5, 8)),
    *(Case("Conv", n, (3, 3), attributes={"strides": [2, 2]}) for n in (3, 4)),
    *(Case("Conv", n, (3, 3), attributes={"dilations": [2, 2]}) for n in (3, 4)),
    *(Case("Conv", n, (3, 3), groups) for n, groups in ((4, 2), (6, 2), (8, 4), (4, 4), (16, 16))),
    *(Case("Conv", n, (3,)) for n in (3, 4)),
    *(Case("Conv", n, (2, 2, 2)) for n in (2, 3)),
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime")
    args = parser.parse_args()
    print(f"{doctor()!s}\n\n| {args.runtime} | pairs that meet | are those of `rows` |")
    print("| --- | --- | --- |")
    for case in CASES:
        found = meeting(case, args.runtime)
        print(f"| {case} | {len(found)} | {'yes' if found == expected(case) else 'no'} |")


def expected(case: Case) -> set[tuple[int, int]]:
    """The pairs of `tersor.graph.lanes`, as columns of the flattened weight."""
    partner = lane_partners(case.inputs, prod(case.kernel)).tolist()
    return {(one, other) for one, other in enumerate(partner) if one < other}


def meeting(case: Case, runtime: RuntimeName) -> set[tuple[int, int]]:
    """The pairs that are added in saturating 16 bits, in some group."""
    columns = case.inputs * prod(case.kernel)
    pairs = list(itertools.combinations(range(columns), 2))
    rows = np.zeros((len(pairs), columns), np.int8)
    for row, pair in zip(rows, pairs, strict=True):
        row[list(pair)] = LARGEST
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.onnx"
        onnx.save(_model(case, np.tile(rows, (case.groups, 1))), path)
        x = np.full((1, case.channels, *[SIZE] * len(case.kernel)), ACTIVATION, np.float32)
        (y,) = serving(runtime, path).load(path)(x).values()
    sums = y.reshape(case.groups, len(pairs), -1)
    too_small = sums.max(-1) < 2 * LARGEST * ACTIVATION - STEP
    return {pair for pair, small in zip(pairs, too_small.any(0), strict=True) if small}


def _model(case: Case, rows: np.ndarray) -> onnx.ModelProto:
    """QuantizeLinear → layer → QuantizeLinear, with all scales but the last 1."""
    is_product = case.op == "MatMul"
    weight = rows.reshape(len(rows), case.inputs, *case.kernel)
    stored = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "step": np.float32(STEP),
        "w": np.ascontiguousarray(weight.T if is_product else weight),
        "ones": np.ones(len(rows), np.float32),
        "zeros": np.zeros(len(rows), np.int8),
    }
    attributes = {"Conv": {"group": case.groups}, "Gemm": {"transB": 1}}.get(case.op, {})
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "one", "zero"], ["x_q"]),
        node("DequantizeLinear", ["x_q", "one", "zero"], ["x_read"]),
        node("DequantizeLinear", ["w", "ones", "zeros"], ["w_read"], axis=int(is_product)),
        node(case.op, ["x_read", "w_read"], ["y"], **attributes, **case.attributes),
        node("QuantizeLinear", ["y", "step", "zero"], ["y_q"]),
        node("DequantizeLinear", ["y_q", "step", "zero"], ["out"]),
    ]
    shape = [1, case.channels, *[SIZE] * len(case.kernel)]
    graph = helper.make_graph(
        nodes,
        "pairs",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


if __name__ == "__main__":
    main()
