"""Files with nodes that have no ATen form, and what they must give: onnxruntime's outputs."""

import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, helper, numpy_helper, parser

from benchmarks.fuzz.structure import STRUCTURE, mutate_onnx
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.frontend.onnx.model import OnnxModel
from tersor.graph.network import Network

_HEAD = '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3, "com.microsoft": 1, "own": 1]>'
_TREE = """n_targets = 2, nodes_falsenodeids = [2, 0, 0], nodes_featureids = [1, 0, 0],
    nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_nodeids = [0, 1, 2],
    nodes_treeids = [0, 0, 0], nodes_truenodeids = [1, 0, 0], nodes_values = [0.5, 0.0, 0.0],
    target_ids = [0, 1], target_nodeids = [1, 2], target_treeids = [0, 0],
    target_weights = [1.0, 5.0]"""
#: What follows a dense layer `h` of 6 numbers, and gives `z`, with as many.
BODIES = {
    "If": """m = ReduceMean <keepdims = 0> (h) zero = Constant <value = float {0}> ()
        c = Greater(m, zero)
        z = If (c) < then_branch = t () => (float[N, 6] p) { p = Mul(h, s) },
            else_branch = e () => (float[N, 6] q) { o = Add(h, s) q = Neg(o) } >""",
    "Loop": """n = Constant <value = int64 {3}> () go = Constant <value = bool {1}> ()
        z = Loop (n, go, h) <body = b (int64 i, bool c, float[N, 6] u) => (bool o, float[N, 6] r)
            { o = Identity(c) k = Mul(u, s) r = Add(k, h) }>""",
    "Scan": """start = Constant <value_floats = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]> ()
        last, z = Scan <num_scan_inputs = 1, body = b (float[6] u, float[6] t) =>
            (float[6] o, float[6] out) { o = Add(u, t) out = Mul(t, s) }> (start, h)""",
    "If in a Loop": """n = Constant <value = int64 {2}> () go = Constant <value = bool {1}> ()
        z = Loop (n, go, h) <body = b (int64 i, bool c, float[N, 6] u) => (bool o, float[N, 6] r)
            { o = Identity(c) d = Cast <to = 9> (i)
              r = If (d) < then_branch = t () => (float[N, 6] p) { p = Mul(u, s) },
                  else_branch = e () => (float[N, 6] q) { q = Add(u, h) } > }>""",
    "Scaler": "z = ai.onnx.ml.Scaler <offset = [0.5], scale = [2.0]> (h)",
    "Normalizer": 'z = ai.onnx.ml.Normalizer <norm = "L2"> (h)',
    "LabelEncoder": """k = Cast <to = 7> (h) l = ai.onnx.ml.LabelEncoder
        <keys_int64s = [0, 1], values_floats = [3.0, 4.0], default_float = 1.0> (k)
        z = Add(l, h)""",
    "TreeEnsembleRegressor": f"""l = ai.onnx.ml.TreeEnsembleRegressor <{_TREE}> (h)
        e = ReduceSum <keepdims = 1> (l) z = Mul(e, h)""",
    "FusedMatMul": "z = com.microsoft.FusedMatMul <alpha = 0.5, transB = 1> (h, square)",
    "BiasGelu": "z = com.microsoft.BiasGelu (h, s)",
    "function": "z = own.Outer <slope = 0.2> (h)",
}
_FUNCTIONS = """
<domain: "own", opset_import: ["": 17, "own": 1]> Outer <slope> (p) => (q)
    { r = own.Inner (p) q = LeakyRelu <alpha: float = @slope> (r) }
<domain: "own", opset_import: ["": 17]> Inner (v) => (t)
    { two = Constant <value = float {2.0}> () t = Mul(v, two) }"""
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@cache
def opaque_files() -> list[bytes]:
    """Small sound files, each with a node that has no ATen form."""
    texts = [
        f"""{_HEAD} g (float[N, 4] x) => (float[N, 3] y)
        {{ a = MatMul(x, w) h = Relu(a) {body} y = MatMul(z, v) }} {_FUNCTIONS}"""
        for body in BODIES.values()
    ]
    shapes = {"w": (4, 6), "s": (6,), "v": (6, 3), "square": (6, 6)}
    plain = [_stored(parser.parse_model(text), shapes) for text in texts]
    rng = random.Random(0)  # noqa: S311
    layers = [_recurrent(kind, rng) for kind in _GATES for _ in range(4)]
    return [model.SerializeToString() for model in (*plain, *layers)]


def _stored(model: ModelProto, shapes: dict[str, tuple[int, ...]]) -> ModelProto:
    numbers = np.random.default_rng(0)
    for name, shape in shapes.items():
        array = np.asarray(numbers.standard_normal(shape), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def _recurrent(kind: str, rng: random.Random) -> ModelProto:
    """A recurrent layer with some of its options and of its optional inputs and outputs."""
    direction = rng.choice(("forward", "reverse", "bidirectional"))
    count, gates = 2 if direction == "bidirectional" else 1, _GATES[kind]
    shapes = {"w": (4, 6), "W": (count, gates * 5, 6), "R": (count, gates * 5, 5)}
    shapes |= {"B": (count, gates * 10), "H": (count, 2, 5), "C": (count, 2, 5)}
    given = ["t", "W", "R", *(rng.choice((name, "")) for name in ("B", "lengths", "H"))]
    given += [rng.choice(("C", ""))] if kind == "LSTM" else []
    results = rng.choice((["r"], ["r", "last"], ["", "last"]))
    options: dict[str, Any] = {"hidden_size": 5, "direction": direction}
    options |= {"clip": 0.5} if rng.random() < 0.3 else {}
    options |= {"linear_before_reset": 1} if kind == "GRU" and rng.random() < 0.5 else {}
    ends = {"r": f"float[3, {count}, 2, 5] r", "last": f"float[{count}, 2, 5] last"}
    text = ", ".join(ends[name] for name in results if name)
    model = parser.parse_model(f"{_HEAD} g (float[3, 2, 4] x) => ({text}) {{ t = MatMul(x, w) }}")
    model.graph.node.append(helper.make_node(kind, given, results, **options))
    lengths = numpy_helper.from_array(np.array([3, 2], np.int32), "lengths")
    model.graph.initializer.append(lengths)
    return _stored(model, shapes)


def mutate_opaque(content: bytes, rng: random.Random) -> bytes:
    """Break a graph inside of the file, if it has one, or else anything."""
    model = onnx.load_from_string(content)
    inner = list(_inner(model.graph))
    if not inner or rng.random() < 0.4:
        return content if rng.random() < 0.1 else mutate_onnx(content, rng)
    graph, part = rng.choice(inner), ModelProto(opset_import=model.opset_import)
    part.graph.CopyFrom(graph)
    try:
        rng.choice(STRUCTURE)(part, rng)
        graph.CopyFrom(part.graph)
    except (IndexError, ValueError, TypeError, DecodeError):
        return content  # nothing of the kind is in it, or protobuf itself refuses the value
    return model.SerializeToString()


def _inner(graph: GraphProto) -> Iterator[GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield attribute.g
                yield from _inner(attribute.g)


def read_opaque(path: Path, captures: bool) -> None:
    """Load the file, run it, sometimes capture it and write it, and compare with onnxruntime."""
    model, _ = load(path)
    assert isinstance(model, OnnxModel)
    inputs = model.arrange((), {})
    network = capture(model, inputs) if captures else model
    with torch.no_grad():
        found = network(*inputs)
    feed = {x.name: value for x, value in zip(model.inputs, inputs, strict=True)}
    leaves = [found] if isinstance(found, torch.Tensor) else list(found)
    ours = [leaf.detach() for leaf in leaves]
    wanted = _run(path, feed)
    _compare(ours, wanted)
    if isinstance(network, Network) and wanted is not None:
        with tempfile.TemporaryDirectory() as folder:
            written = export_onnx(network, Path(folder) / "float.onnx").path
            _compare(list(map(torch.from_numpy, _run(written, feed) or [])), wanted)


def _run(path: Path, feed: dict[str, torch.Tensor]) -> list[np.ndarray] | None:
    """The outputs of the file in onnxruntime; None if it does not run there."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        found = session.run(None, {name: value.numpy() for name, value in feed.items()})
        return list(map(np.asarray, found))
    except Exception:  # noqa: BLE001
        return None


def _compare(ours: list[torch.Tensor], wanted: list[np.ndarray] | None) -> None:
    for found, theirs in zip(ours, wanted or (), strict=wanted is not None):
        array, theirs = found.numpy(), np.asarray(theirs)
        if (array.shape, array.dtype) != (theirs.shape, theirs.dtype):
            shapes = f"{theirs.dtype} {theirs.shape}"
            raise AssertionError(f"{array.dtype} {array.shape} instead of {shapes}")
        if theirs.dtype.kind == "f" and theirs.size and np.isfinite(theirs).all():
            error, scale = np.abs(array - theirs).max(), np.abs(theirs).max()
            if not error <= 1e-3 * scale + 1e-5:
                raise AssertionError(f"differs from onnxruntime by {error:.3g} of {scale:.3g}")
