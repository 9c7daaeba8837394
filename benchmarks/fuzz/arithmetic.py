"""ONNX files that compute with stored values: extreme numbers, sizes and ops."""

import random
from collections.abc import Iterator
from functools import cache

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, load_from_string, numpy_helper

from benchmarks.fuzz.structure import mutate_onnx

TYPES = (*(np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64), np.float16, np.float32)
ONE = ("Abs", "Neg", "Sqrt", "Exp", "Log", "Reciprocal", "Floor", "Round", "Sign", "Not", "Shape")
ONE += ("ConstantOfShape", "ReduceSum", "ReduceProd", "ReduceMean", "ArgMax", "NonZero", "Identity")
ONE += ("CumSum", "Size", "Unsqueeze", "Squeeze", "Transpose", "Flatten", "Softmax", "Erf", "Det")
TWO = ("Div", "Mod", "Pow", "Add", "Sub", "Mul", "Max", "Min", "Equal", "Less", "And", "Concat")
TWO += ("BitShift", "BitwiseXor", "MatMul", "Reshape", "Expand", "Tile", "Gather", "GatherND")
TWO += ("Split", "TopK", "OneHot", "Pad", "Resize", "Upsample", "Trilu", "Compress", "EyeLike")
THREE = ("Range", "Where", "Slice", "ScatterND", "Clip", "Pad", "OneHot", "ScatterElements")
THREE += ("Conv", "Gemm", "Resize", "CenterCropPad")
EXTREMES = (0, 1, -1, 2, 3, -2, 64, 127, 255, 2**15, 2**24, 2**31 - 1, 2**40, 2**62)
REALS = (0.0, -0.0, 1e-45, 1e38, -1e38, 65504.0, float("inf"), float("-inf"), float("nan"))
_MOST = 12  # nodes


@cache
def arithmetic_files() -> list[bytes]:
    """Sound files in which a number is computed from stored values."""
    rng = random.Random(0)  # noqa: S311
    return [_model([(op, [3, 2])], rng, np.int64) for op in ("Add", "Mul", "Sub", "Max", "Min")]


def mutate_arithmetic(content: bytes, rng: random.Random) -> bytes:
    """New ops on new values in most cases, else a change of the file."""
    kind = rng.random()
    if kind < 0.2:
        return mutate_onnx(content, rng)
    if kind < 0.4:
        return _other_values(load_from_string(content), rng).SerializeToString()
    steps = [(rng.choice(rng.choice((ONE, TWO, THREE))), _sizes(rng)) for _ in range(_count(rng))]
    return _model(steps, rng)


def _count(rng: random.Random) -> int:
    return rng.choice((1, 1, 2, 3, rng.randrange(1, _MOST)))


def _sizes(rng: random.Random) -> list[int]:
    return [rng.choice((0, 1, 2, 3, 5)) for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 4)))]


def _values(kind: type[np.number], sizes: list[int], rng: random.Random) -> np.ndarray:
    """Small numbers, or the extremes of their type."""
    array = np.zeros(sizes, kind)
    is_real = np.issubdtype(kind, np.floating)
    info = None if is_real else np.iinfo(kind)
    flat = array.reshape(-1)
    for place in range(flat.size):
        if info is None:
            with np.errstate(over="ignore"):
                flat[place] = rng.choice((*REALS, float(rng.randrange(-3, 4))))
        else:
            number = rng.choice((*EXTREMES, info.min, info.max, *range(-3, 5)))
            flat[place] = min(max(number, info.min), info.max)
    return array


def _model(
    steps: list[tuple[str, list[int]]], rng: random.Random, only: type[np.number] | None = None
) -> bytes:
    stored, nodes, known = [], [], []
    kind = only or rng.choice(TYPES)

    def value(sizes: list[int]) -> str:
        name = f"v{len(stored)}"
        own = only or rng.choice((kind, kind, kind, np.int64))
        stored.append(numpy_helper.from_array(_values(own, sizes, rng), name))
        return name

    last = value(steps[0][1])
    for number, (op, sizes) in enumerate(steps):
        count = 1 + (op in TWO) + 2 * (op in THREE)
        reads = [rng.choice((last, last, *known)), *(value(sizes) for _ in range(count - 1))]
        if count > 1 and rng.random() < 0.3:
            reads.reverse()
        last = f"c{number}"
        known.append(last)
        nodes.append(helper.make_node(op, reads, [last], **dict(_options(op, rng))))
    tail = (helper.make_node("Cast", [last], ["f"], to=TensorProto.FLOAT),)
    tail += (helper.make_node("ReduceMax", ["f"], ["r"], keepdims=0),)
    tail += (helper.make_node("Mul", ["x", "r"], ["y"]),)
    return _file([*nodes, *tail], stored, rng).SerializeToString()


def _options(op: str, rng: random.Random) -> Iterator[tuple[str, object]]:
    if op in ("Concat", "ArgMax", "Gather", "Flatten", "Softmax") or rng.random() < 0.05:
        yield "axis", rng.choice((0, 0, 1, -1, 2**40))
    if op == "BitShift":
        yield "direction", rng.choice(("LEFT", "RIGHT"))
    if op == "Mod" and rng.random() < 0.3:
        yield "fmod", 1
    if op == "ConstantOfShape" and rng.random() < 0.5:
        kind = rng.choice(TYPES)
        yield "value", numpy_helper.from_array(_values(kind, [1], rng), "value")


def _file(nodes: list[NodeProto], stored: list[TensorProto], rng: random.Random) -> ModelProto:
    ends = (("x", [1, 3]), ("y", None))
    inputs, outputs = ([helper.make_tensor_value_info(n, 1, s)] for n, s in ends)
    opset = helper.make_opsetid("", rng.choice((11, 13, 17, 18, 21)))
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def _other_values(model: ModelProto, rng: random.Random) -> ModelProto:
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size and rng.random() < 0.7:
            values = _values(array.dtype.type, list(array.shape), rng)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model
