"""Layers that onnxruntime has fused with what follows are read as layers, and computed the same."""

import numpy as np
import onnxruntime
import pytest
import torch

import tersor
from tersor.frontend.onnx.model import read_model
from tests.frontend.onnx.files import model, random, write

MS = "com.microsoft"
PICTURE, ROWS = "float[2, 3, 6, 6] x", "float[2, 5] x"
FUSED = {
    "Conv, Relu": (PICTURE, f'{MS}.FusedConv <activation = "Relu"> (x, w, b)'),
    "Conv without bias": (
        PICTURE,
        f'{MS}.FusedConv <activation = "Tanh", pads = [1,1,1,1]> (x, w)',
    ),
    "Conv, LeakyRelu": (
        PICTURE,
        f'{MS}.FusedConv <activation = "LeakyRelu", activation_params = [0.3]> (x, w, b)',
    ),
    "Conv, Clip": (
        PICTURE,
        f'{MS}.FusedConv <activation = "Clip", activation_params = [-0.5, 0.7]> (x, w, b)',
    ),
    "Conv, HardSigmoid": (
        PICTURE,
        f'{MS}.FusedConv <activation = "HardSigmoid", activation_params = [0.3, 0.4]> (x, w)',
    ),
    "Conv, Add, Relu": (PICTURE, f'{MS}.FusedConv <activation = "Relu"> (x, w, b, more)'),
    "Gemm": (
        ROWS,
        f'{MS}.FusedGemm <activation = "LeakyRelu", activation_alpha = 0.2, alpha = 0.5> (x, m, b)',
    ),
    "Gemm, transposed": (ROWS, f'{MS}.FusedGemm <activation = "Sigmoid", transB = 1> (x, t, b)'),
    "MatMul": (ROWS, f"{MS}.FusedMatMul <alpha = 0.5> (x, m)"),
    "MatMul, transposed": (ROWS, f"{MS}.FusedMatMul <transB = 1> (x, t)"),
    "MatMul of what is turned": ("float[2, 5, 2] x", f"{MS}.FusedMatMul <transA = 1> (x, m)"),
}
STORED = {
    "w": random(4, 3, 3, 3) / 5,
    "b": random(4, seed=1),
    "m": random(5, 4, seed=2),
    "t": random(4, 5, seed=3),
    "more": random(2, 4, 4, 4, seed=4),
}


def file(given, call, folder):
    read = {n: x for n, x in STORED.items() if f" {n}," in call or f" {n})" in call}
    return write(folder, model(f"g ({given}) => (float y) {{ y = {call} }}", **read))


@pytest.mark.parametrize(("given", "call"), FUSED.values(), ids=FUSED)
def test_it_computes_what_onnxruntime_computes(given, call, tmp_path):
    path = file(given, call, tmp_path)
    session = onnxruntime.InferenceSession(path)
    x = random(*session.get_inputs()[0].shape, seed=9)
    read = read_model(path)
    assert not any("microsoft" in node.op for node in read.nodes)
    with torch.no_grad():
        found = read(torch.from_numpy(x))
    np.testing.assert_allclose(found, session.run(None, {"x": x})[0], rtol=1e-5, atol=1e-5)
    assert "written as nodes of ONNX" in read.changes[0]


@pytest.mark.parametrize("kind", ["Conv, Add, Relu", "Gemm, transposed", "MatMul, transposed"])
def test_its_weights_become_integers(kind, tmp_path):
    loaded, _ = tersor.load(file(*FUSED[kind], tmp_path))
    shape = loaded.inputs[0].shape
    q = tersor.quantize(loaded, data=[torch.from_numpy(random(*shape, seed=n)) for n in range(6)])
    result = q.export(tmp_path / "q.onnx")
    assert [stored.layers for stored in result.weights] == [1]
    assert not result.anew


def test_what_is_not_known_is_carried(tmp_path):
    call = f"{MS}.FusedMatMul <transBatchA = 1> (x, m)"
    read = read_model(file("float[5, 2, 5] x", call, tmp_path))
    assert [node.op for node in read.nodes] == [f"{MS}.FusedMatMul"]
