"""A small file cannot take any amount of memory or time, and a large one is read."""

import os

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import tersor
from tersor.api import steps
from tersor.errors import TersorError, UnsupportedError
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.frontend.onnx import bounded, constant_budget, loops
from tersor.frontend.onnx.constant_budget import check_counts

TAIL = [
    helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
    helper.make_node("ReduceMax", ["f"], ["r"], keepdims=0),
    helper.make_node("Mul", ["x", "r"], ["y"]),
]
ONE = helper.make_tensor("v", TensorProto.INT64, [1], [1])


def file(nodes, stored=None, inputs=1, functions=()):
    names = ["x", *(f"x{number}" for number in range(1, inputs))]
    taken = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in names]
    given = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    values = [numpy_helper.from_array(np.array(x), name) for name, x in (stored or {}).items()]
    graph = helper.make_graph(nodes, "g", taken, given, values)
    opsets = [helper.make_opsetid(*x) for x in (("", 17), ("f", 1), ("com.microsoft", 1))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))


def function(name, *called):
    values = ["a", *(f"v{number}" for number in range(1, len(called))), "b"]
    nodes = [
        helper.make_node(op, [values[i]], [values[i + 1]], domain="" if op == "Relu" else "f")
        for i, op in enumerate(called)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["a"], ["b"], nodes, opsets)


def doubled(times):
    made = [function(f"f{n}", f"f{n - 1}", f"f{n - 1}") for n in range(1, times + 1)]
    call = helper.make_node(f"f{times}", ["x"], ["y"], domain="f")
    return file([call], functions=[function("f0", "Relu"), *made])


def chain(op, count, first, **stored):
    nodes = [helper.make_node(op, [f"b{i}"] * 2, [f"b{i + 1}"]) for i in range(count)]
    return file([*first, *nodes, helper.make_node("Identity", [f"b{count}"], ["c"]), *TAIL], stored)


def body(outputs):
    """One step of a loop that never ends."""
    kinds = {"i": TensorProto.INT64, "go": TensorProto.BOOL, "on": TensorProto.BOOL}
    ends = {
        name: helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None)
        for name in ("i", "go", "v", "on", "w", "out")
    }
    nodes = [
        helper.make_node(op, [read], [written])
        for op, read, written in (("Identity", "go", "on"), ("Abs", "v", "w"), ("Neg", "v", "out"))
    ]
    taken = [ends[name] for name in ("i", "go", "v")]
    return helper.make_graph(nodes, "body", taken, [ends[name] for name in outputs])


BODY, SCANNING = body(("on", "w")), body(("on", "w", "out"))
FILLED = [helper.make_node("ConstantOfShape", ["s"], ["b0"], value=ONE)]
BOMBS = {
    "doubled": lambda: file(
        [
            *(helper.make_node("Concat", [f"a{i}"] * 2, [f"a{i + 1}"], axis=0) for i in range(40)),
            helper.make_node("Identity", ["a40"], ["c"]),
            *TAIL,
        ],
        {"a0": np.ones(8, np.int64)},
    ),
    "many shapes": lambda: file(
        [
            *(helper.make_node("ConstantOfShape", ["s"], [f"b{i}"]) for i in range(10)),
            helper.make_node("Sum", [f"b{i}" for i in range(10)], ["c"]),
            *TAIL,
        ],
        {"s": [2**29]},
    ),
    "a product": lambda: chain("MatMul", 1, FILLED, s=[16384, 16384]),
    "products": lambda: chain("MatMul", 50, FILLED, s=[1000, 1000]),
    "many readers": lambda: file(
        [
            helper.make_node("ConstantOfShape", ["s"], ["b"]),
            *(helper.make_node("ReduceMax", ["b"], [f"m{i}"], keepdims=0) for i in range(500)),
            helper.make_node("Max", [f"m{i}" for i in range(500)], ["c"]),
            *TAIL,
        ],
        {"s": [7000, 8000]},
    ),
    "a window": lambda: file(
        [
            helper.make_node("ConstantOfShape", ["s"], ["b"]),
            helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2000, 2000]),
            *TAIL,
        ],
        {"s": [1, 1, 5000, 5000]},
    ),
    "resized": lambda: file(
        [helper.make_node("Resize", ["a", "", "", "s"], ["c"], mode="nearest"), *TAIL],
        {"a": np.ones((1, 1, 2, 2), np.float32), "s": [1, 1, 2, 2**31]},
    ),
    "repeated": lambda: file(
        [helper.make_node("Expand", ["a", "s"], ["c"]), *TAIL],
        {"a": np.ones((1, 1), np.float32), "s": [30_000, 30_000]},
    ),
    "of nothing": lambda: file(
        [helper.make_node("Expand", ["a", "s"], ["c"]), *TAIL],
        {"a": np.ones((1, 1, 1), np.float32), "s": [0, 2**40, 2**40]},
    ),
    "carried": lambda: file(
        [helper.make_node("HannWindow", ["s"], ["c"]), *TAIL], {"s": np.int64(2**34)}
    ),
    "carried, cubic": lambda: file(
        [helper.make_node("Resize", ["a", "", "", "s"], ["c"], mode="cubic"), *TAIL],
        {"a": np.ones((1, 1, 2), np.float32), "s": [1, 1, 2**30]},
    ),
    "endless": lambda: file(
        [helper.make_node("Loop", ["n", "yes", "a"], ["c"], body=BODY), *TAIL],
        {"n": np.int64(2**62), "yes": np.bool_(True), "a": np.ones(2, np.float32)},
    ),
    "growing": lambda: file(
        [helper.make_node("Loop", ["n", "yes", "a"], ["", "c"], body=SCANNING), *TAIL],
        {"n": np.int64(2**62), "yes": np.bool_(True), "a": np.ones(2**20, np.float32)},
    ),
    "a Fourier transform": lambda: file(
        [helper.make_node("DFT", ["a", "n"], ["c"]), *TAIL],
        {"a": np.ones((1, 1, 1), np.float32), "n": np.int64(30_000_001)},
    ),
    "a product in onnxruntime": lambda: file(
        [
            *FILLED,
            helper.make_node("Cast", ["b0"], ["b"], to=TensorProto.FLOAT),
            helper.make_node("FusedMatMul", ["b", "b"], ["c"], domain="com.microsoft"),
            *TAIL,
        ],
        {"s": [11_000, 5_800]},
    ),
    "many in onnxruntime": lambda: file(
        [
            *(helper.make_node("HannWindow", [f"s{i}"], [f"h{i}"]) for i in range(100)),
            helper.make_node("Concat", [f"h{i}" for i in range(100)], ["c"], axis=0),
            *TAIL,
        ],
        {f"s{i}": np.int64(1000 + i) for i in range(100)},
    ),
    "endless, of an input": lambda: file(
        [helper.make_node("Loop", ["n", "yes", "x"], ["c"], body=BODY), *TAIL],
        {"n": np.int64(2**62), "yes": np.bool_(True)},
    ),
    "growing, of an input": lambda: file(
        [
            helper.make_node("Tile", ["x", "t"], ["v"]),
            helper.make_node("Loop", ["n", "yes", "v"], ["", "c"], body=SCANNING),
            *TAIL,
        ],
        {"n": np.int64(2**62), "yes": np.bool_(True), "t": [1, 2**18]},
    ),
    "parts": lambda: file(
        [
            *FILLED,
            helper.make_node("Split", ["x", "b0"], ["c"], axis=1),
            *TAIL,
        ],
        {"s": [5_000_000]},
    ),
    "nodes": lambda: file(
        [helper.make_node("Relu", [f"r{i}" if i else "x"], [f"r{i + 1}"]) for i in range(20_000)]
        + [helper.make_node("Identity", ["r20000"], ["y"])]
    ),
    "inputs": lambda: file(
        [helper.make_node("Sum", ["x", *(f"x{i}" for i in range(1, 2000))], ["y"])], inputs=2000
    ),
    "functions, 12 times": lambda: doubled(12),
    "functions, 40 times": lambda: doubled(40),
    "a function that calls itself": lambda: file(
        [helper.make_node("f", ["x"], ["y"], domain="f")], functions=[function("f", "f")]
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_file_is_refused_before_it_takes_memory_or_time(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "_SECONDS", 1)
    monkeypatch.setattr(loops, "_SECONDS", 0.5)
    monkeypatch.setattr(constant_budget, "_SECONDS", 1.0)
    (tmp_path / "a.onnx").write_bytes(BOMBS[kind]().SerializeToString())
    began = sum(os.times()[:4])
    with pytest.raises(TersorError, match=r"a\.onnx|cannot (be )?compute"):
        capture(load(tmp_path / "a.onnx")[0])  # which computes what onnxruntime computes
    assert sum(os.times()[:4]) - began < 10


@pytest.mark.parametrize(
    ("start", "limit", "step"),
    [(0, 3e38, 1), (0, 3, 1e-45), (3e38, 0, -1), (-(2**63), 2**63 - 1, 1)],
)
def test_a_range_whose_numbers_cannot_be_counted(start, limit, step, tmp_path):
    kind = np.int64 if isinstance(limit, int) and abs(limit) > 3 else np.float32
    stored = {name: kind(x) for name, x in zip("abc", (start, limit, step), strict=True)}
    nodes = [helper.make_node("Range", ["a", "b", "c"], ["c0"], name="the range")]
    nodes += [
        helper.make_node("ReduceMax", ["c0"], ["r"], keepdims=0),
        helper.make_node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "f"], ["y"]),
    ]
    (tmp_path / "a.onnx").write_bytes(file(nodes, stored).SerializeToString())
    with pytest.raises(TersorError, match=r"'the range' .*more numbers than can be counted; look"):
        load(tmp_path / "a.onnx")


def test_what_onnxruntime_computes_from_stored_values_is_computed_once(tmp_path, monkeypatch):
    nodes = [
        helper.make_node("HannWindow", ["s"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    (tmp_path / "a.onnx").write_bytes(file(nodes, {"s": np.int64(3)}).SerializeToString())
    model, _ = load(tmp_path / "a.onnx")
    monkeypatch.setattr(bounded, "load", None)
    network = capture(model)
    with torch.no_grad():
        found = network(torch.ones(2, 3))
    assert found[0].tolist() == pytest.approx(torch.hann_window(3).tolist())


def test_an_attribute_that_is_no_size_of_a_window(tmp_path):
    nodes = [
        helper.make_node("Neg", ["s"], ["c"], size=["a"], kernel_shape="forward"),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    (tmp_path / "a.onnx").write_bytes(file(nodes, {"s": np.float32(3)}).SerializeToString())
    model, _ = load(tmp_path / "a.onnx")
    assert model.constants["c"] == -3


def test_small_values_that_are_broadcast_to_a_large_one_are_no_condition(tmp_path):
    shape = {"a": (1024, 1, 1), "b": (1, 1024, 1), "w": (1, 1, 1024)}
    stored = {name: np.ones(size, np.int64) for name, size in shape.items()}
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["n"])],
        "b",
        [],
        [helper.make_tensor_value_info("n", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Cast", ["w"], ["c"], to=TensorProto.BOOL),
        helper.make_node("Where", ["c", "a", "b"], ["d"]),
        helper.make_node("ReduceMax", ["d"], ["e"], keepdims=0),
        helper.make_node("Cast", ["e"], ["f"], to=TensorProto.BOOL),
        helper.make_node("If", ["f"], ["y"], then_branch=branch, else_branch=branch),
    ]
    (tmp_path / "a.onnx").write_bytes(file(nodes, stored).SerializeToString())
    with pytest.raises(TersorError, match="too much memory"):
        load(tmp_path / "a.onnx")


def test_what_is_of_the_size_of_the_weights_is_computed(tmp_path):
    weight = np.ones((3, 1_000_000), np.float32)
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("MatMul", ["w", "t"], ["p"]),
        helper.make_node("MatMul", ["x", "p"], ["y"]),
    ]
    (tmp_path / "a.onnx").write_bytes(file(nodes, {"w": weight}).SerializeToString())
    model, _ = load(tmp_path / "a.onnx")
    assert len(model.nodes) == 1


def test_a_file_with_weights_may_have_more_nodes():
    nodes = [
        helper.make_node("Relu", [f"r{i}" if i else "x"], [f"r{i + 1}"]) for i in range(17_000)
    ]
    nodes.append(helper.make_node("Mul", ["r17000", "w"], ["y"]))
    with pytest.raises(UnsupportedError, match="at most 16,"):
        check_counts(file(nodes, {"w": np.ones(3, np.float32)}))
    check_counts(file(nodes, {"w": np.ones(2_000_000, np.float32)}))


def test_a_file_without_weights_is_refused_before_it_is_simplified(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(
        file([helper.make_node("Relu", ["x"], ["y"])]).SerializeToString()
    )
    monkeypatch.setattr(steps, "simplify", None)
    with pytest.raises(UnsupportedError, match="nothing to quantize"):
        tersor.quantize(tmp_path / "a.onnx", input_range=(0.0, 1.0))
