"""Small ONNX files, written as text."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser


def model(text: str, opset: int = 17, **weights: np.ndarray) -> onnx.ModelProto:
    """A model out of the text form of its graph, with weights by name."""
    made = onnx.ModelProto(ir_version=8, graph=parser.parse_graph(text))
    made.opset_import.append(onnx.helper.make_opsetid("", opset))
    made.graph.initializer.extend(numpy_helper.from_array(w, name) for name, w in weights.items())
    return made


def write(folder: Path, made: onnx.ModelProto | bytes) -> Path:
    """The model as a file."""
    path = folder / "model.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


#: A file whose branch depends on an input that a user knows.
RATE = model(
    """g (float[N, 4] x, int64 sr) => (float[N, 3] y) {
        a = MatMul(x, w) h = Relu(a) rate = Constant <value = int64 {16000}> ()
        c = Equal(sr, rate)
        y = If (c) <
            then_branch = t () => (float[N, 3] p) { p = MatMul(h, wide) },
            else_branch = e () => (float[N, 3] q) { s = MatMul(h, wide) q = Neg(s) } > }""",
    w=random(4, 6),
    wide=random(6, 3, seed=1),
)
