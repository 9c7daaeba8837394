"""Opsets 1 to 6: what lay over axes by number, and shapes that were attributes."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

import tersor
from tersor.errors import UnsupportedError
from tersor.frontend.onnx.model import read_model
from tests.frontend.onnx.files import random, write

WEIGHTS = {
    "k": random(8, 3, 3, 3),
    "c": random(8),
    "mean": random(8),
    "beta": random(8),
    "gamma": random(8) ** 2 + 0.5,
    "var": random(8) ** 2 + 0.5,
    "gain": random(8) + 2,
    "slope": random(8) / 10,
    "w": random(10, 128),
    "v": random(10),
    "d": random(8),
}


def old(nodes, opset, batch="N", weights=WEIGHTS, out=(10,)):
    """A file of that time: weights are inputs, too, and most values have no types."""
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])]
    inputs += [helper.make_tensor_value_info(v.name, v.data_type, v.dims) for v in stored]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, *out])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=3)


def network(opset):
    """All that changed, as an exporter of the opset wrote it."""
    make, gone = helper.make_node, {"consumed_inputs": [0, 0, 0, 1, 1]} if opset < 6 else {}
    sizes = {"sizes": np.array([-1, 128])} if opset >= 5 else {}
    reshape = {} if sizes else {"shape": [-1, 128]}
    weights = {**WEIGHTS, **sizes}
    nodes = [
        make("Conv", ["x", "k"], ["a"], pads=[1, 1, 1, 1]),
        make("Add", ["a", "c"], ["b"], broadcast=1, axis=1),
        make("BatchNormalization", ["b", "gamma", "beta", "mean", "var"], ["n"], is_test=1, **gone),
        make("Mul", ["n", "gain"], ["s"], broadcast=1, axis=1),
        make("PRelu", ["s", "slope"], ["p"]),
        make("Dropout", ["p"], ["o"], is_test=1),
        make("MaxPool", ["o"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        make("Reshape", ["m", *sizes], ["f"], **reshape),
        make("Gemm", ["f", "w", "v"], ["y"], transB=1, broadcast=1),
    ]
    return nodes, weights


def wanted(x):
    """The same in PyTorch."""
    w = {name: torch.from_numpy(array) for name, array in WEIGHTS.items()}
    y = F.conv2d(x, w["k"], w["c"], padding=1)
    y = F.batch_norm(y, w["mean"], w["var"], w["gamma"], w["beta"])
    y = F.prelu(y * w["gain"].reshape(8, 1, 1), w["slope"])
    return F.linear(F.max_pool2d(y, 2).flatten(1), w["w"], w["v"])


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("opset", [1, 4, 5, 6])
def test_what_changed_until_opset_7(opset, batch, tmp_path):
    nodes, weights = network(opset)
    path = write(tmp_path, old(nodes, opset, batch, weights))
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    read = read_model(path)
    np.testing.assert_allclose(read(x).detach(), wanted(x), rtol=1e-3, atol=1e-3)
    assert read.changes[0] == f"converted from opset {opset} to 13"


def test_it_comes_out_as_integers(tmp_path):
    nodes, weights = network(6)
    path = write(tmp_path, old(nodes, 6, weights=weights))
    x = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    result = tersor.quantize(tersor.load(path)[0], data=x)
    written = result.export(tmp_path / "int8.onnx")
    assert written.anew == ""
    session = ort.InferenceSession(written.path, providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": x.numpy()})[0]
    noise = np.square(found - wanted(x).numpy()).sum() / np.square(wanted(x).numpy()).sum()
    assert noise < 1e-2


CASES = {
    "a cast by name": ([("Cast", ["x"], {"to": "DOUBLE"})], lambda x: x.double()),
    "the axis of a concatenation": (
        [("Concat", ["x", "x"], {})],
        lambda x: torch.cat([x, x], 1),
    ),
    "pads": (
        [("Pad", ["x"], {"paddings": [0, 0, 1, 2, 0, 0, 3, 4], "value": 0.5})],
        lambda x: F.pad(x, [2, 4, 1, 3], value=0.5),
    ),
    "scales of axes": (
        [("Upsample", ["x"], {"height_scale": 2.0, "width_scale": 3.0, "mode": "nearest"})],
        lambda x: F.interpolate(x, scale_factor=(2, 3)),
    ),
    "a repeated axis": ([("Tile", ["x", "three", "two"], {})], lambda x: x.repeat(1, 1, 3, 1)),
    "the power of a norm": (
        [("GlobalLpPool", ["x"], {"p": 2.0})],
        lambda x: x.square().sum((2, 3), keepdim=True).sqrt(),
    ),
    "sizes as an input": ([("Split", ["x", "parts"], {"axis": 1})], lambda x: x[:, :1]),
    "a computed operand": (
        [("Neg", ["d3"], {}), ("Add", ["x", 0], {"broadcast": 1, "axis": 1})],
        lambda x: x - torch.arange(3.0).reshape(3, 1, 1),
    ),
    "the last axes": ([("Div", ["x", "d8"], {"broadcast": 1})], lambda x: x / torch.arange(1.0, 9)),
    "inference without a word": (
        [("Dropout", ["x"], {"ratio": 0.5}), ("Relu", [0], {})],
        lambda x: x.relu(),
    ),
}
STORED = {
    "three": np.array(3, np.int64),
    "two": np.array(2, np.int64),
    "parts": np.array([1, 2]),
    "d3": np.arange(3, dtype=np.float32),
    "d8": np.arange(1, 9, dtype=np.float32),
}


@pytest.mark.parametrize("name", CASES)
def test_nodes_of_opset_1(name, tmp_path):
    steps, expected = CASES[name]
    nodes = []
    for number, (op, inputs, attributes) in enumerate(steps):
        read = [value if isinstance(value, str) else f"v{value}" for value in inputs]
        last = number == len(steps) - 1
        made = ["y", "z"] if op == "Split" else ["y" if last else f"v{number}"]
        nodes.append(helper.make_node(op, read, made, **attributes))
    used = {v: a for v, a in STORED.items() if any(v in node.input for node in nodes)}
    file = old(nodes, 1, weights=used, out=("a", "b", "c"))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = read_model(write(tmp_path, file))(x)
    want = expected(x)
    assert found.dtype == want.dtype
    np.testing.assert_allclose(found.detach(), want, rtol=1e-6)


def test_a_file_before_there_were_opsets(tmp_path):
    file = old([helper.make_node("Relu", ["x"], ["y"])], 1, weights={}, out=(3, 8, 8))
    del file.opset_import[:]
    file.ir_version = 2
    assert read_model(write(tmp_path, file)).changes == ("converted from opset 1 to 13",)


FORGOTTEN = {
    "ImageScaler": (
        {"bias": [1.0, 2.0, 3.0], "scale": 0.5},
        lambda x: x / 2 + torch.arange(1.0, 4).reshape(3, 1, 1),
    ),
    "Affine": ({"alpha": 2.0, "beta": 3.0}, lambda x: 2 * x + 3),
    "ScaledTanh": ({"alpha": 2.0, "beta": 3.0}, lambda x: 2 * torch.tanh(3 * x)),
    "ParametricSoftplus": ({"alpha": 2.0, "beta": 3.0}, lambda x: 2 * F.softplus(3 * x)),
}


@pytest.mark.parametrize("op", FORGOTTEN)
@pytest.mark.parametrize("opset", [1, 7, 9])
def test_nodes_that_onnx_has_forgotten(op, opset, tmp_path):
    attributes, function = FORGOTTEN[op]
    nodes = [
        helper.make_node(op, ["x"], ["a"], **attributes),
        helper.make_node("Conv", ["a", "k"], ["y"]),
    ]
    path = write(tmp_path, old(nodes, opset, weights={"k": WEIGHTS["k"]}, out=(8, 6, 6)))
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    want = F.conv2d(function(x), torch.from_numpy(WEIGHTS["k"]))
    np.testing.assert_allclose(read_model(path)(x).detach(), want, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_kept_is_refused_with_a_reason(tmp_path):
    norm = ["x", "g3", "g3", "g3", "g3"]
    training = helper.make_node("BatchNormalization", norm, ["y", "m", "v", "sm", "sv"])
    everywhere = helper.make_node("BatchNormalization", norm, ["y"], is_test=1, spatial=0)
    unknown = helper.make_node("Add", ["z", "g3"], ["y"], broadcast=1, axis=1)
    gather = helper.make_node("Gather", ["x", "three"], ["z"])
    cases = {
        "training mode": ([training, helper.make_node("Relu", ["m"], ["q"])], "training mode"),
        "places": ([everywhere], r"spatial=0"),
        "axes": ([gather, unknown], "does not tell how many"),
    }
    weights = {"g3": np.ones(3, np.float32), "three": STORED["three"]}
    for nodes, reason in cases.values():
        with pytest.raises(UnsupportedError, match=rf"{reason}.*opset 7 or later"):
            read_model(write(tmp_path, old(nodes, 6, weights=weights, out=("a",))))
