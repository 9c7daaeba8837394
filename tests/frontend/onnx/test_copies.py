"""Copies of stored values: `torch.onnx.export` gives layers that share a weight one each."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

import tersor
from tersor.frontend.onnx.model import read_model
from tests.frontend.onnx.files import model, random, write

SHARED = "g (float[N, 16] x) => (float[N, 16] y) {{ {} }}"
LAYERS = """a = MatMul(x, w) b = Add(a, v) c = Relu(b) d = MatMul(c, w2) e = Add(d, v2)
    f = Relu(e) y = MatMul(f, w3)"""
COPIES = "w2 = Identity(w) w3 = Identity(w2) v2 = Identity(v)"


def run(path, **inputs):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, inputs)]


@pytest.fixture
def shared(tmp_path):
    """A file in which three products share a matrix, and two of them a bias."""
    text = SHARED.format(f"{COPIES} {LAYERS}")
    return write(tmp_path, model(text, 17, w=random(16, 16) / 4, v=random(16)))


def test_a_weight_that_layers_share_is_read_once(shared):
    found = read_model(shared)
    assert len({node.inputs[1] for node in found.nodes if node.op == "tersor.Linear"}) == 1
    assert sum(value.numel() for value in found.state_dict().values()) == 16 * 16 + 16
    x = random(5, 16)
    np.testing.assert_allclose(found(torch.from_numpy(x)).detach(), run(shared, x=x)[0], atol=1e-5)


@pytest.mark.parametrize("with_data", [False, True])
def test_a_weight_that_layers_share_is_written_once(tmp_path, shared, with_data):
    x = random(64, 16)
    given = torch.from_numpy(x)
    q = tersor.quantize(shared, given, data=given if with_data else None)
    q.export(tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    integers = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert [list(t.dims) for t in integers if len(t.dims) == 2] == [[16, 16]]
    want, found = run(shared, x=x)[0], run(tmp_path / "int8.onnx", x=x)[0]
    assert 10 * np.log10((want**2).sum() / ((want - found) ** 2).sum()) > 25


def test_an_output_that_is_a_copy_stays(tmp_path):
    text = """g (float[N, 16] x) => (float[N, 16] y, float[16, 16] w2)
        { w2 = Identity(w) a = MatMul(x, w) y = MatMul(a, w2) }"""
    path = write(tmp_path, model(text, 17, w=random(16, 16)))
    x = random(3, 16)
    found = read_model(path)(torch.from_numpy(x))
    for ours, want in zip(found, run(path, x=x), strict=True):
        np.testing.assert_allclose(ours.detach(), want, rtol=1e-4, atol=1e-4)


def test_a_copy_is_read_in_branches_too(tmp_path):
    text = """g (float[N, 16] x, bool c) => (float[N, 16] y) { w2 = Identity(w) a = MatMul(x, w)
        y = If (c) <then_branch = t () => (float[N, 16] p) { p = MatMul(a, w2) },
                    else_branch = e () => (float[N, 16] q) { q = Add(a, a) }> }"""
    path = write(tmp_path, model(text, 17, w=random(16, 16)))
    x = random(3, 16)
    for taken in (True, False):
        (want,) = run(path, x=x, c=np.array(taken))
        ours = read_model(path)(torch.from_numpy(x), torch.tensor(taken))
        np.testing.assert_allclose(ours.detach(), want, rtol=1e-4, atol=1e-3)
