"""A function that a file writes out is one call of the network, and the file keeps its nodes."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import tersor
from tersor.core.metrics import sqnr
from tersor.frontend.onnx import written_out
from tersor.quant.smooth import Smoothing
from tests.frontend.onnx.files import model, random, write

aten = torch.ops.aten
ERF = {"half": np.float32(0.5), "one": np.float32(1), "root": np.float32(2**0.5)}
TANH = {
    "half": np.float32(0.5),
    "one": np.float32(1),
    "three": np.float32(3),
    "a": np.float32(0.044715),
    "b": np.float32((2 / np.pi) ** 0.5),
}
GELUS: dict[str, tuple[str, dict]] = {
    "PyTorch, opset 18": (
        "d = Div(h, root) e = Erf(d) s = Add(e, one) m = Mul(half, s) y = Mul(h, m)",
        ERF,
    ),
    "PyTorch, earlier": (
        "d = Div(h, root) e = Erf(d) s = Add(e, one) m = Mul(h, s) y = Mul(m, half)",
        ERF,
    ),
    "halved first": (
        "g = Mul(h, half) d = Mul(h, rec) e = Erf(d) s = Add(one, e) y = Mul(g, s)",
        {**ERF, "rec": np.array([0.70710678], np.float32)},
    ),
    "six digits": (
        "d = Div(h, root) e = Erf(d) s = Add(e, one) m = Mul(h, s) y = Div(m, two)",
        {"root": np.float32(1.41421), "one": np.float32(1), "two": np.float32(2)},
    ),
    "a number with axes": (
        "o = Add(h, row) d = Div(o, root) e = Erf(d) s = Add(e, one) m = Mul(o, s) "
        "y = Mul(m, half)",
        {**ERF, "row": random(1, 1, 4), "one": np.ones((1, 1, 1), np.float32)},
    ),
    "tanh": (
        "c = Pow(h, three) k = Mul(c, a) i = Add(h, k) j = Mul(i, b) t = Tanh(j) s = Add(t, one) "
        "g = Mul(h, half) y = Mul(g, s)",
        TANH,
    ),
    "tanh of products": (
        "q = Mul(h, h) c = Mul(q, h) k = Mul(a, c) i = Add(h, k) j = Mul(b, i) t = Tanh(j) "
        "s = Add(one, t) m = Mul(s, h) y = Mul(m, half)",
        {name: x for name, x in TANH.items() if name != "three"},
    ),
}
OTHERS = {
    "another constant": (GELUS["PyTorch, earlier"][0], {**ERF, "root": np.float32(1.5)}),
    "no half": ("d = Div(h, root) e = Erf(d) s = Add(e, one) y = Mul(h, s)", ERF),
    "read inside": (f"{GELUS['PyTorch, earlier'][0].replace('y =', 'w =')} y = Add(w, e)", ERF),
    "a number with axes that the value may lack": (
        GELUS["PyTorch, earlier"][0],
        {**ERF, "one": np.ones((1, 1, 1), np.float32)},
    ),
    "per channel": (GELUS["PyTorch, earlier"][0], {**ERF, "half": np.full(4, 0.5, np.float32)}),
    "another value": (
        "d = Div(h, root) e = Erf(d) s = Add(e, one) m = Mul(x0, s) y = Mul(m, half)",
        ERF,
    ),
}
PLAIN = random(4, 4)
LARGE = np.array([30, 1, 1, 1], np.float32)
ROWS = {"g": random(4) + 2, "b": random(4, seed=1), "eps": np.float32(1e-5)}
NORMS: dict[str, tuple[str, dict]] = {
    "power": (
        "m = ReduceMean <axes = [-1]> (h) d = Sub(h, m) q = Pow(d, two) "
        "v = ReduceMean <axes = [-1]> (q) e = Add(v, eps) s = Sqrt(e) n = Div(d, s) "
        "k = Mul(n, g) y = Add(k, b)",
        {**ROWS, "two": np.float32(2)},
    ),
    "square, turned around": (
        "m = ReduceMean <axes = [-1]> (h) d = Sub(h, m) q = Mul(d, d) "
        "v = ReduceMean <axes = [-1]> (q) e = Add(eps, v) s = Sqrt(e) r = Reciprocal(s) "
        "k = Mul(r, g) n = Mul(k, d) y = Add(b, n)",
        ROWS,
    ),
    "no shift": (
        "m = ReduceMean <axes = [-1]> (h) d = Sub(h, m) q = Mul(d, d) "
        "v = ReduceMean <axes = [-1]> (q) e = Add(v, eps) s = Sqrt(e) n = Div(d, s) "
        "y = Mul(n, g)",
        {name: x for name, x in ROWS.items() if name != "b"},
    ),
}
NO_NORMS = {
    "another axis": (NORMS["power"][0].replace("[-1]", "[1]"), NORMS["power"][1]),
    "variance of n - 1": (
        NORMS["power"][0].replace("e = Add(v, eps)", "u = Mul(v, more) e = Add(u, eps)"),
        {**NORMS["power"][1], "more": np.float32(4 / 3)},
    ),
    "eps behind the root": (
        NORMS["power"][0].replace("e = Add(v, eps) s = Sqrt(e)", "e = Sqrt(v) s = Add(e, eps)"),
        {**NORMS["power"][1], "eps": np.float32(1e-3)},
    ),
}


def file(body, stored, folder, opset=13):
    """A layer, the function, and a layer behind it."""
    head, tail = "x0 = Relu(x) h = MatMul(x0, w0)", "z = MatMul(y, w1)"
    text = f"g (float[N, 3, 4] x) => (float[N, 3, 5] z) {{ {head} {body} {tail} }}"
    return write(folder, model(text, opset, w0=random(4, 4), w1=random(4, 5), **stored))


def calls(path):
    network = tersor.quantize(path, torch.from_numpy(random(2, 3, 4))).original
    return Counter(node.target for node in network.graph.nodes if node.op == "call_function")


@pytest.mark.parametrize(("body", "stored"), GELUS.values(), ids=GELUS)
def test_gelu_is_one_call(body, stored, tmp_path):
    found = calls(file(body, stored, tmp_path))
    assert found[aten.gelu.default] == 1
    assert not {aten.erf.default, aten.tanh.default, aten.mul.Tensor} & set(found)


@pytest.mark.parametrize(("body", "stored"), NORMS.values(), ids=NORMS)
def test_layer_norm_is_one_call(body, stored, tmp_path):
    found = calls(file(body, stored, tmp_path))
    assert found[aten.layer_norm.default] == 1
    assert not {aten.mean.dim, aten.sqrt.default, aten.mul.Tensor} & set(found)


@pytest.mark.parametrize(("body", "stored"), [*OTHERS.values(), *NO_NORMS.values()])
def test_what_computes_something_else_stays(body, stored, tmp_path):
    found = calls(file(body, stored, tmp_path))
    assert not {aten.gelu.default, aten.layer_norm.default} & set(found)


@pytest.mark.parametrize("name", [*GELUS, *NORMS])
def test_the_simulation_and_the_runtime_agree(name, tmp_path):
    path = file(*(GELUS | NORMS)[name], tmp_path)
    data = [torch.from_numpy(random(16, 3, 4, seed=k) * [3, 1, 1, 0.1]).float() for k in range(4)]
    quantized = tersor.quantize(path, data=data, tolerance=None)
    exported = quantized.export(tmp_path / "int8.onnx").path
    before, after = (Counter(n.op_type for n in onnx.load(p).graph.node) for p in (path, exported))
    same = {"Erf", "Tanh", "Pow", "Sub", "Sqrt", "Reciprocal", "ReduceMean", "Div"}
    assert {op: after[op] for op in same} == {op: before[op] for op in same}
    x = data[0].numpy()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (found,) = onnxruntime.InferenceSession(exported, options).run(None, {"x": x})
    with torch.inference_mode():
        wanted = quantized.network(torch.from_numpy(x)).numpy()
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    assert np.abs(found - wanted).mean() < 1e-3 * np.abs(wanted).mean()


def test_outliers_move_into_the_weights_behind_a_gelu(tmp_path):
    body, stored = GELUS["PyTorch, opset 18"]
    plain, smoothed = (
        decibels(body, stored, tmp_path, smooth, w0=PLAIN * LARGE) for smooth in (None, Smoothing())
    )
    assert smoothed > plain + 10


def test_outliers_move_through_the_weight_of_a_norm(tmp_path):
    """The first channel, 30 times as large, would leave the others few integers."""
    body, stored = NORMS["power"]
    assert decibels(body, {**stored, "g": LARGE}, tmp_path) > 35


def test_a_file_with_very_many_candidates_is_not_searched_for_long(tmp_path, monkeypatch):
    body, stored = NORMS["power"]
    path = file(body, stored, tmp_path)
    assert calls(path)[aten.layer_norm.default] == 1
    monkeypatch.setattr(written_out, "_MOST_WORK", 5 * written_out._CALL)
    assert calls(path)[aten.layer_norm.default] == 0


def decibels(body, stored, folder, smooth=None, w0=PLAIN):
    """Of the int8 file against the float file, where weights make up for a large channel."""
    w1 = random(4, 5, seed=4) / LARGE[:, None]
    text = f"""g (float[N, 3, 4] x) => (float[N, 3, 5] z) {{
        p = MatMul(x, w0) h = Add(p, c) {body} z = MatMul(y, w1) }}"""
    path = write(folder, model(text, 13, w0=w0, w1=w1, c=random(4, seed=5), **stored))
    data = [torch.from_numpy(random(32, 3, 4, seed=k)) for k in range(8)]
    options = tersor.WithData(rounding=None, smooth=smooth)
    quantized = tersor.quantize(path, data=data, options=options, tolerance=None)
    exported = quantized.export(folder / "int8.onnx").path
    float_file, int8_file = (
        onnxruntime.InferenceSession(p).run(None, {"x": data[0].numpy()})[0]
        for p in (path, exported)
    )
    return float(sqnr(torch.from_numpy(float_file), torch.from_numpy(int8_file)))
