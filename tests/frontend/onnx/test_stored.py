"""Stored values behave as inputs do: statistics, and single numbers wherever they stand."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

import tersor
from benchmarks.onnx_backend import not_applicable
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.frontend.onnx import stored
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.onnx.read import read
from tests.frontend.onnx.files import model, random, write
from tests.frontend.onnx.test_ops import cases_of


def positive(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)


def run(path, **inputs):
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)


# `a` is the stored number, in each of the shapes that exporters write.
CALLS = {
    "Add(a, x)": "float",
    "Sub(a, x)": "float",
    "Mul(a, x)": "float",
    "Div(a, x)": "float",
    "Pow(a, x)": "float",
    "Mod <fmod = 1> (a, x)": "float",
    "Max(a, x)": "float",
    "Min(a, x)": "float",
    "Max(a, b, x)": "float",
    "Sum(a, x, b)": "float",
    "Mean(a, x)": "float",
    "PRelu(x, a)": "float",
    "Where(c, a, x)": "float",
    "Where(c, x, a)": "float",
    "Add(x, a)": "float",
    "Sub(x, a)": "float",
    "Mul(x, a)": "float",
    "Div(x, a)": "float",
    "Pow(x, a)": "float",
    "Equal(a, x)": "bool",
    "Greater(a, x)": "bool",
    "GreaterOrEqual(a, x)": "bool",
    "Less(a, x)": "bool",
    "LessOrEqual(a, x)": "bool",
    "Less(x, a)": "bool",
}


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_a_stored_number_may_stand_anywhere(tmp_path, shape):
    names = [f"y{i}" for i in range(len(CALLS))]
    outputs = ", ".join(f"{t}[N, 4] {n}" for n, t in zip(names, CALLS.values(), strict=True))
    body = " ".join(f"{n} = {call}" for n, call in zip(names, CALLS, strict=True))
    text = f"g (float[N, 4] x) => ({outputs}) {{ c = Greater(x, one) {body} }}"
    made = model(text, one=np.float32(1), a=np.full(shape, 0.7, np.float32), b=np.float32(0.4))
    path, x = write(tmp_path, made), positive(3, 4)
    x[0, 0] = 0.7
    captured = capture(load(path)[0], torch.from_numpy(x))
    export_onnx(captured, tmp_path / "again.onnx")
    wanted, again = run(path, x=x), run(tmp_path / "again.onnx", x=x)
    for call, want, ours, file in zip(
        CALLS, wanted, captured(torch.from_numpy(x)), again, strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), want, rtol=1e-5, err_msg=call)
        np.testing.assert_allclose(file, want, rtol=1e-5, err_msg=call)


def test_gelu_with_its_numbers_first(tmp_path):
    """As most exporters write it; what comes out is the same as with the numbers second."""
    text = """g (float[N, 16] x) => (float[N, 4] y) { h = MatMul(x, w) p = Pow(h, three)
        q = Mul(small, p) r = Add(h, q) s = Mul(root, r) t = Tanh(s) u = Add(one, t)
        v = Mul(half, h) g = Mul(v, u) y = MatMul(g, w2) }"""
    numbers = {"three": 3, "small": 0.044715, "root": 0.7978846, "one": 1, "half": 0.5}
    stored = {name: np.float32(value) for name, value in numbers.items()}
    stored |= {"w": 0.3 * random(16, 8), "w2": random(8, 4)}
    second = text
    for number, other in (("small", "p"), ("root", "r"), ("one", "t"), ("half", "h")):
        second = second.replace(f"({number}, {other})", f"({other}, {number})")
    x = torch.from_numpy(random(64, 16, seed=3))
    for data, least in ((None, 15), (x, 25)):
        found = []
        for written in (text, second):
            path = write(tmp_path, model(written, **stored))
            tersor.quantize(load(path)[0], data=data).export(tmp_path / "q.onnx")
            found += run(tmp_path / "q.onnx", x=x.numpy())
        np.testing.assert_array_equal(*found)
        assert decibels(run(path, x=x.numpy())[0], found[0]) > least


def decibels(want, found):
    return 10 * np.log10((want**2).sum() / max(((want - found) ** 2).sum(), 1e-30))


STATISTICS = {
    "behind a convolution": ("h = Conv(x, w) i = BatchNormalization(h, g, b, m, v)", 0),
    "shared with its own scale": ("h = Conv(x, w) i = BatchNormalization(h, v, m, m, v)", 0),
    "behind a ReLU": ("h = Conv(x, w) r = Relu(h) i = BatchNormalization(r, g, b, m, v)", 1),
    "twice": (
        "h = Conv(x, w) r = BatchNormalization(h, g, b, m, v) "
        "i = BatchNormalization(r, g, b, m, v)",
        0,
    ),
    "of the input": ("i = BatchNormalization(x, g, b, m, v)", 1),
}


@pytest.mark.filterwarnings("ignore::tersor.errors.SamplesWarning")  # statistics are random
@pytest.mark.parametrize("has_data", [False, True])
@pytest.mark.parametrize("case", STATISTICS)
def test_stored_statistics(tmp_path, case, has_data):
    body, left = STATISTICS[case]
    text = f"""g (float[N, 8, 12, 12] x) => (float[N, 4, A, B] y) {{
        {body} k = Relu(i) y = Conv <pads = [1, 1, 1, 1]> (k, w2) }}"""
    stored = {"g": positive(8, seed=1), "b": random(8), "m": random(8), "v": positive(8, seed=2)}
    path = write(tmp_path, model(text, w=random(8, 8, 3, 3), w2=random(4, 8, 3, 3), **stored))
    x = torch.from_numpy(random(32, 8, 12, 12, seed=5))
    example = x[:2]
    loaded, _ = load(path)
    assert isinstance(loaded, OnnxModel)
    assert {"m", "v"} <= {name for name, _ in loaded.named_buffers()}
    np.testing.assert_allclose(loaded(x).detach(), run(path, x=x.numpy())[0], atol=1e-3)
    quantized = tersor.quantize(loaded, example, data=x if has_data else None)
    calls = [str(node.target) for node in quantized.network.graph.nodes]
    assert calls.count("aten.batch_norm.default") == left
    quantized.export(tmp_path / "q.onnx")
    (want,), (found,) = run(path, x=x.numpy()), run(tmp_path / "q.onnx", x=x.numpy())
    assert decibels(quantized.network(x).detach().numpy(), found) > 30
    if has_data:  # without, ranges follow from the statistics, which are no real ones here
        assert decibels(want, found) > 20


def test_what_is_no_weight_is_not_trained(tmp_path):
    text = """g (float[N, 3, 8, 8] x) => (float[N, 4, A, B] y) { h = Conv(x, w)
        i = BatchNormalization(h, g, b, m, v) j = Sub(one, i) k = Add(j, mask) y = Relu(k) }"""
    stored = {"g": positive(4), "b": random(4), "m": random(4), "v": positive(4)}
    mask = np.where(np.eye(6) > 0, -np.inf, 0).astype(np.float32)
    made = model(text, w=random(4, 3, 3, 3), one=np.float32(1), mask=mask, **stored)
    loaded, _ = load(write(tmp_path, made))
    assert {name for name, _ in loaded.named_parameters()} == {"w", "g", "b"}
    assert {name for name, _ in loaded.named_buffers()} == {"m", "v", "one", "mask"}


MASKS = {
    "Add": ("Add(s, mask)", np.triu(np.full((6, 6), -np.inf, np.float32), 1)),
    "Where": ("Where(mask, s, low)", np.tril(np.ones((6, 6), bool))),
}


@pytest.mark.parametrize("has_data", [False, True], ids=["no data", "data"])
@pytest.mark.parametrize("kind", MASKS)
def test_an_attention_mask_may_be_infinite(kind, has_data, tmp_path):
    how, mask = MASKS[kind]
    text = f"""g (float[N, 6, 8] x) => (float[N, 6, 8] y) {{ k = MatMul(x, w)
        t = Transpose <perm = [0, 2, 1]> (k) s = MatMul(x, t) m = {how}
        p = Softmax <axis = -1> (m) o = MatMul(p, k) y = MatMul(o, v) }}"""
    made = model(text, w=random(8, 8), v=random(8, 8, seed=1), mask=mask, low=np.float32(-np.inf))
    path, x = write(tmp_path, made), torch.from_numpy(random(16, 6, 8, seed=2))
    quantized = tersor.quantize(load(path)[0], x[:2], data=x if has_data else None)
    quantized.export(tmp_path / "q.onnx")
    (want,), (found,) = (run(file, x=x.numpy()) for file in (path, tmp_path / "q.onnx"))
    assert decibels(want, found) > (30 if has_data else 20)  # without, ranges are guesses


@pytest.mark.parametrize("has_data", [False, True], ids=["no data", "data"])
def test_a_looked_up_mask_may_be_infinite(has_data, tmp_path):
    """The biases of attention are looked up by distance; one of the rows hides a token."""
    text = """g (float[N, 6, 8] x, int64[N, 6, 6] far) => (float[N, 6, 8] y) { k = MatMul(x, w)
        t = Transpose <perm = [0, 2, 1]> (k) s = MatMul(x, t) e = Gather(table, far)
        b = ReduceSum <keepdims = 0> (e, last) m = Add(s, b)
        p = Softmax <axis = -1> (m) o = MatMul(p, k) y = MatMul(o, v) }"""
    table = random(5, 1)
    table[0] = -np.inf
    stored = {"table": table, "last": np.array([-1])}
    path = write(tmp_path, model(text, w=random(8, 8), v=random(8, 8, seed=1), **stored))
    far = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))[None].repeat(16, 0).clip(0, 4)
    given = {"x": random(16, 6, 8, seed=2), "far": 4 - far}
    data = tuple(torch.from_numpy(value) for value in given.values())
    quantized = tersor.quantize(load(path)[0], data, data=[data] if has_data else None)
    quantized.export(tmp_path / "q.onnx")
    (want,), (found,) = (run(file, **given) for file in (path, tmp_path / "q.onnx"))
    assert decibels(want, found) > (25 if has_data else 20)
    assert "infinite" in str(quantized.summary())


# One node each of ops whose inputs a file may store: every way to store all inputs but one.
STORED = {
    "batch_normalization": "batchnorm_example batchnorm_epsilon",
    "where": "where_example where_long_example",
    "prelu": "prelu_example prelu_broadcast",
    "pow": "pow_bcast_scalar pow_types_float32_int64 pow_types_int64_float32",
    "clip": "clip clip_default_int8_max",
    "instance_normalization": "instancenorm_example",
    "layernormalization": "layer_normalization_default_axis",
    "gemm": "gemm_default_scalar_bias gemm_all_attributes",
    "gatherelements": "gather_elements_0",
    "scatternd": "scatternd_add",
    "onehot": "onehot_with_axis",
    "mod": "mod_mixed_sign_float32 mod_uint8 mod_broadcast",
    "min": "min_example min_int32",
    "equal": "equal_bcast equal_uint8",
    "bitshift": "bitshift_left_uint8",
    "concat": "concat_2d_axis_1",
    "einsum": "einsum_batch_matmul",
    "convtranspose": "convtranspose",
}
NAMES = [(module, f"test_{name}") for module, names in STORED.items() for name in names.split()]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[name for _, name in NAMES])
def test_all_inputs_but_one_are_stored(module, name, tmp_path):
    case = cases_of(module)[name]
    assert not_applicable(case.model) is None
    (given, wanted), *_ = case.data_sets
    inputs = dict(zip((x.name for x in case.model.graph.input), given, strict=True))
    for kept in inputs:
        made = onnx.ModelProto()
        made.CopyFrom(case.model)
        stored = (numpy_helper.from_array(x, n) for n, x in inputs.items() if n != kept)
        made.graph.initializer.extend(stored)
        loaded = OnnxModel(read(write(tmp_path, made)))
        x = torch.from_numpy(np.array(inputs[kept]))
        found = loaded(x)
        for ours, want in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
            np.testing.assert_allclose(ours.detach(), want, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("before", range(0, 9, 2))
def test_a_file_beside_is_found_wherever_its_place_is_written(tmp_path, monkeypatch, before):
    monkeypatch.setattr(stored, "_BLOCK", 16)  # the key may begin in one block and end in the next
    made = model("g (float[N, 4] x) => (float[N, 4] y) { y = Add(x, a) }", a=np.ones(4, np.float32))
    made.graph.name = "g" * (1 + before)
    path = tmp_path / "whole.onnx"
    onnx.save(made, path)
    assert stored.files(path) == {path}
    divided = tmp_path / "divided.onnx"
    onnx.save(made, divided, save_as_external_data=True, location="weights", size_threshold=0)
    assert stored.files(divided) == {divided, tmp_path / "weights"}
    assert stored.size(divided) == divided.stat().st_size + 16


def test_a_file_that_is_named_in_two_ways_counts_once(tmp_path):
    text = "g (float[N, 4] x) => (float[N, 4] y) { z = Add(x, a) y = Add(z, b) }"
    made = model(text, a=np.ones(4, np.float32), b=np.ones(4, np.float32))
    path = tmp_path / "a.onnx"
    onnx.save(made, path, save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "folder").mkdir()
    divided = onnx.load(path, load_external_data=False)
    place = divided.graph.initializer[0].external_data[0]
    assert place.key == "location"
    place.value = "folder/../weights"
    path.write_bytes(divided.SerializeToString())
    assert stored.size(path) == path.stat().st_size + (tmp_path / "weights").stat().st_size
