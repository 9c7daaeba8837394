"""A file that came in is edited: it computes what the simulation computes, and the rest stays."""

import json
import re

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from typer.testing import CliRunner

import tersor
from tersor.cli import app
from tersor.export.kernels import kernels
from tersor.export.onnx.writer import export_onnx
from tersor.passes.equalize import Equalize
from tests.frontend.onnx.files import model, random, write

STEM = "a = Conv <pads = [1, 1, 1, 1]> (x, k, c)"
IMAGE = 'agraph (float[N, 3, 8, 8] x) => (float[N, 5] "out.put")'
HEAD = 'p = GlobalAveragePool(h) f = Flatten(p) "out.put" = Gemm <transB = 1> (f, w, v)'
WEIGHTS = {"k": random(4, 3, 3, 3), "c": random(4), "w": random(5, 4), "v": random(5)}
NORM = {"g": random(4) + 2, "b": random(4), "m": random(4), "s": random(4) ** 2 + 0.5}

BODIES = {
    "clip": (f"{STEM} h = Clip(a, low, high)", {"low": np.float32(0), "high": np.float32(1.5)}),
    "batch norm": (f"{STEM} n = BatchNormalization(a, g, b, m, s) h = Relu(n)", NORM),
    "identities": (f"{STEM} i = Identity(a) r = Relu(i) h = Dropout(r)", {}),
    "split": (
        f"{STEM} r = Relu(a) s0, s1 = Split <axis = 1> (r, sizes) t = Conv(s1, k1) "
        "h = Concat <axis = 1> (t, s0)",
        {"sizes": np.array([1, 3]), "k1": random(3, 3, 1, 1)},
    ),
    "no bias": ("a = Conv(x, k) h = Relu(a)", {}),
    "residual": (
        f"{STEM} r = Relu(a) t = Conv(r, k1) u = Add(t, r) h = Relu(u)",
        {"k1": random(4, 4, 1, 1)},
    ),
    "shape": (
        f"{STEM} r = Relu(a) s = Shape(r) q = Reshape(r, s) h = Conv(q, k1)",
        {"k1": random(4, 4, 1, 1)},
    ),
    "padded": (
        'a = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, k, c) h = Relu(a)',
        {},
    ),
    "pooled": (
        f"{STEM} r = Relu(a) h = MaxPool <kernel_shape = [2, 2], strides = [2, 2], "
        "pads = [0, 0, 1, 1]> (r)",
        {},
    ),
    "constant operands": (
        f"{STEM} u = Mul(two, a) t = Add(u, s1) r = Sigmoid(t) h = Mul(u, r)",
        {"two": np.float32(2), "s1": random(1, 4, 1, 1)},
    ),
    "computed weight": (
        "kk = Mul(k, two) a = Conv(x, kk) h = Relu(a)",
        {"two": np.float32(2)},
    ),
}
TAILS = {
    "Gemm": (HEAD, {}),
    "turned Gemm": (
        "p = GlobalAveragePool(h) f = Flatten(p) "
        '"out.put" = Gemm <alpha = 0.5, beta = 2.0> (f, wt, v)',
        {"wt": random(4, 5)},
    ),
    "MatMul": (
        'p = GlobalAveragePool(h) f = Flatten(p) "out.put" = MatMul(f, wt)',
        {"wt": random(4, 5)},
    ),
    "MatMul and Add": (
        'p = GlobalAveragePool(h) f = Flatten(p) y = MatMul(f, wt) "out.put" = Add(v, y)',
        {"wt": random(4, 5)},
    ),
    "two products": (
        "p = GlobalAveragePool(h) f = Flatten(p) y = MatMul(f, wt) z = Relu(y) "
        '"out.put" = MatMul(z, w2)',
        {"wt": random(4, 6), "w2": random(6, 5)},
    ),
}


def made(tmp_path, body="clip", tail="Gemm", opset=17):
    """A small file with awkward names and metadata of its own."""
    (before, more), (after, others) = BODIES[body], TAILS[tail]
    text = f"{IMAGE} {{ {before} {after} }}".replace('"out.put"', "y_")
    stored = {**WEIGHTS, **more, **others}
    file = model(text, opset, **{k: v for k, v in stored.items() if re.search(rf"\b{k}\b", text)})
    for node in file.graph.node:
        node.output[:] = ["out.put" if name == "y_" else name for name in node.output]
    file.graph.output[0].name = "out.put"
    file.producer_name = "someone"
    file.metadata_props.add(key="author", value="somebody")
    onnx.checker.check_model(file, full_check=True)
    return write(tmp_path, file)


def quantized(path, **options):
    example = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return tersor.quantize(tersor.load(path)[0], example, **options)


def ends(path):
    """Names, types and axes of inputs and outputs."""
    graph = onnx.load(str(path)).graph
    stored = {value.name for value in graph.initializer}
    return [str(v) for v in (*graph.input, *graph.output) if v.name not in stored]


def run(path, x, exact=True):
    options = ort.SessionOptions()
    if exact:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def assert_alike(result, path):
    """Equal within one step, but where a tie in the middle was rounded to the other side."""
    x = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    wanted = result(x).detach().numpy()
    steps = np.abs(run(path, x) - wanted) / (np.abs(wanted).max() / 255)
    assert (steps <= 1e-3).mean() >= 0.5  # most are equal
    assert (steps <= 1).mean() >= 0.8  # a mean of few integers is often a tie
    assert steps.max() <= 12  # one step of a hidden value


def check(result, path, source):
    """The edited file is the simulation, and its ends are those of the file."""
    written = result.export(path)
    assert written.anew == ""
    assert ends(path) == ends(source)
    assert_alike(result, path)
    return written


@pytest.mark.parametrize("body", BODIES)
def test_what_stands_in_the_middle(body, tmp_path):
    source = made(tmp_path, body)
    check(quantized(source), tmp_path / "int8.onnx", source)


@pytest.mark.parametrize("tail", TAILS)
def test_products(tail, tmp_path):
    source = made(tmp_path, tail=tail)
    result = quantized(source)
    check(result, tmp_path / "int8.onnx", source)
    kept = [node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node]
    assert [op for op in kept if op in ("Gemm", "MatMul")] == [
        node.op_type
        for node in onnx.load(str(source)).graph.node
        if node.op_type in ("Gemm", "MatMul")
    ]


@pytest.mark.parametrize("tail", TAILS)
def test_the_float_network_is_the_file_itself(tail, tmp_path):
    source = made(tmp_path, tail=tail)
    network = quantized(source).original
    assert export_onnx(network, tmp_path / "float.onnx").anew == ""
    before, after = onnx.load(str(source)).graph, onnx.load(str(tmp_path / "float.onnx")).graph
    assert [list(node.input) for node in after.node] == [list(node.input) for node in before.node]
    assert {v.name: v.raw_data for v in after.initializer} == {
        v.name: v.raw_data for v in before.initializer
    }


def test_weights_keep_their_names_and_metadata_stay(tmp_path):
    source = made(tmp_path, "identities")
    written = check(quantized(source), tmp_path / "int8.onnx", source)
    file = onnx.load(str(tmp_path / "int8.onnx"))
    stored = {value.name: onnx.numpy_helper.to_array(value) for value in file.graph.initializer}
    assert stored["k"].dtype == stored["w"].dtype == np.int8
    assert stored["c"].dtype == stored["v"].dtype == np.int32
    assert stored["k_scale"].shape == (4,)
    assert {"x_scale", "x_zero_point"} <= stored.keys()
    assert not {"Relu", "Identity", "Dropout"} & {node.op_type for node in file.graph.node}
    notes = {item.key: item.value for item in file.metadata_props}
    assert notes["author"] == "somebody"
    assert notes["tersor.scheme"] == "onnxruntime-cpu"
    assert json.loads(notes["tersor.options"])["weights"] == {"8": 2}
    assert file.producer_name == "someone"
    assert written.opset == file.opset_import[0].version == 17


@pytest.mark.parametrize(("bits", "storage"), [(4, "int4"), (16, "int8"), (3, "int8")])
def test_other_widths(bits, storage, tmp_path):
    source = made(tmp_path, "residual")
    result = quantized(source, weights=bits, activations=16 if bits == 16 else None)
    written = result.export(tmp_path / "a.onnx", storage=storage)
    assert written.anew == ""
    assert written.opset == (17 if bits == 3 else 21)
    assert ends(written.path) == ends(source)
    assert {stored.bits for stored in written.weights} == {bits}
    assert_alike(result, written.path)


def test_an_early_opset_is_raised(tmp_path):
    source = made(tmp_path, opset=13)
    assert check(quantized(source), tmp_path / "a.onnx", source).opset == 13
    later = quantized(source).export(tmp_path / "b.onnx", opset=21)
    assert later.opset == 21
    assert ends(later.path) == ends(source)


@pytest.mark.parametrize("opset", [11, 13])
def test_a_file_without_types_of_inner_values_gets_none(opset, tmp_path):
    source = made(tmp_path, opset=opset)
    path = quantized(source).export(tmp_path / "int8.onnx", opset=17).path
    assert list(onnx.load(source).graph.value_info) == []
    assert list(onnx.load(path).graph.value_info) == []


DEEP = """agraph (float[N, 3, 8, 8] x) => (float[N, 10] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, k1, c1) r = Clip(a, low, high)
    d = Conv <pads = [1, 1, 1, 1]> (r, k2) n = BatchNormalization(d, g, b, m, s) e = Relu(n)
    f = Conv <pads = [1, 1, 1, 1]> (e, k3) h = Relu(f) p = GlobalAveragePool(h)
    q = Shape(p) i = Gather(q, zero) u = Unsqueeze(i, zeros) t = Concat <axis = 0> (u, minus)
    l = Reshape(p, t) z = MatMul(l, wt) y = Add(z, v) }"""


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A file that is worth compressing."""
    vectors = {name: random(24) ** 2 + 0.5 for name in "gbms"}
    kernels = {"k1": random(16, 3, 3, 3), "k2": random(24, 16, 3, 3), "k3": random(24, 24, 3, 3)}
    others = {"c1": random(16), "wt": random(24, 10), "v": random(10)}
    bounds = {"low": np.float32(0), "high": np.float32(1)}
    sizes = {"zero": np.int64(0), "zeros": np.array([0]), "minus": np.array([-1])}
    stored = {**vectors, **kernels, **others, **bounds, **sizes}
    return write(tmp_path_factory.mktemp("deep"), model(DEEP, **stored))


@pytest.mark.parametrize("methods", [("prune",), ("svd",), ("tucker",)])
def test_compressed_parts_take_the_place_of_the_old_ones(deep, methods, tmp_path):
    x = torch.randn(4, 3, 8, 8)
    network = tersor.load(deep)[0]
    options = tersor.Compression(methods=methods)
    result = tersor.compress(network, x, macs=0.6, options=options)
    written = check(result, tmp_path / "small.onnx", deep)
    np.testing.assert_allclose(run(written.path, x), result(x).detach().numpy(), atol=1e-3)
    check(tersor.quantize(result.network), tmp_path / "int8.onnx", deep)


def test_a_clip_for_every_channel(deep, tmp_path):
    options = tersor.DataFree(equalize=Equalize())
    result = quantized(deep, options=options)
    check(result, tmp_path / "int8.onnx", deep)
    assert "Min" in [node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node]


def test_names_of_the_command_line(deep, tmp_path):
    names = ["--input-names", "pixels", "--output-names", "scores", "--opset", "21"]
    path = tmp_path / "a.onnx"
    given = ["quantize", str(deep), "-o", str(path), "--example", "2,3,8,8", "--no-verify", *names]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    session = ort.InferenceSession(path)
    assert (session.get_inputs()[0].name, session.get_outputs()[0].name) == ("pixels", "scores")
    assert onnx.load(str(path)).opset_import[0].version == 21


def test_an_input_that_is_returned_stays_as_it_is(tmp_path):
    text = "g (float[N, 4] x) => (float[N, 3] y, float[N, 4] x) { y = MatMul(x, w) }"
    path, x = write(tmp_path, model(text, w=random(4, 3))), random(9, 4)
    written = tersor.quantize(tersor.load(path)[0], data=x).export(tmp_path / "q.onnx").path
    session = ort.InferenceSession(written, providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": x})
    assert np.array_equal(found[1], x)
    assert np.abs(found[0] - x @ random(4, 3)).max() < 0.1


def test_a_pool_pads_what_is_rounded_where_sizes_are_open(tmp_path):
    """Windows at the edge of an open size are filled up with -∞, which no grid has."""
    text = """g (float[N, 3, H, W] x) => (float[N, 5, P, Q] y) {
        a = Conv (x, k, c) r = PRelu(a, slope)
        m = MaxPool <auto_pad = "SAME_UPPER", kernel_shape = [2, 2], strides = [2, 2]> (r)
        y = Conv(m, l) }"""
    weights = {"k": random(4, 3, 3, 3), "c": random(4), "l": random(5, 4, 3, 3)}
    path = write(tmp_path, model(text, slope=np.full((4, 1, 1), 0.1, np.float32), **weights))
    x = torch.randn(8, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    result = tersor.quantize(tersor.load(path)[0], data=x)
    written = result.export(tmp_path / "int8.onnx")
    assert written.anew == ""
    assert [weight.layers for weight in written.weights] == [2]
    assert all(kernel.is_integer for kernel in kernels(written.path))
    for other in (x, x[:, :, :8, :8]):
        wanted, found = result(other).detach().numpy(), run(written.path, other)
        assert np.abs(found - wanted).max() <= np.abs(wanted).max() / 100
