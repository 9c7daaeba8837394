"""Products with a stored tensor that no layer has: the file stores them in a quarter."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import tersor
from tersor.errors import UnsupportedError
from tersor.graph.network import Skipped
from tests.frontend.onnx.files import model, random, write

#: The product, the shape of its stored tensor, and the axis of the outputs in that.
KINDS = {
    "a stack of matrices": ("MatMul(x, w)", (8, 32, 100), 2),
    "the first factor": ("MatMul(w, x)", (200, 8), 0),
    "einsum": ('Einsum <equation = "nij,jhk->nhik"> (x, w)', (32, 10, 20), 2),
    "einsum first": ('Einsum <equation = "kj,nij->nik"> (w, x)', (100, 32), 0),
}


def made(kind, scale=1.0):
    text, shape, _ = KINDS[kind]
    graph = f"g (float[N, 8, 32] x) => (float y) {{ y = {text} }}"
    graph = graph.replace("N, 8", "8, 8") if "stack" in kind else graph
    found = model(graph, w=random(*shape, seed=1) * scale)
    found.graph.output[0].type.tensor_type.ClearField("shape")
    return found


def run(path, x):
    return ort.InferenceSession(path).run(None, {"x": x})[0]


@pytest.mark.parametrize("kind", KINDS)
def test_its_weights_are_stored_in_8_bits(kind, tmp_path):
    """Outputs of very different sizes keep their accuracy each."""
    _, shape, axis = KINDS[kind]
    sizes = [-1 if place == axis else 1 for place in range(len(shape))]
    scale = np.float32(10.0) ** np.linspace(-3, 3, shape[axis], dtype=np.float32).reshape(sizes)
    path, x = write(tmp_path, made(kind, scale)), random(8, 8, 32)
    assert not tersor.quantize(path).export(tmp_path / "q.onnx").anew
    written = onnx.load(tmp_path / "q.onnx").graph
    integers = [v for v in written.initializer if v.data_type == onnx.TensorProto.INT8]
    assert shape in [tuple(value.dims) for value in integers]
    want, found = run(path, x), run(tmp_path / "q.onnx", x)
    outputs = int(np.argmax([size == shape[axis] for size in want.shape]))
    others = tuple(set(range(want.ndim)) - {outputs})
    error = ((want - found) ** 2).sum(others) / (want**2).sum(others)
    assert error.max() < 1e-3


def test_what_is_excluded_stays(tmp_path):
    with pytest.raises(UnsupportedError, match=r"'w' has 1,600 numbers, but excluded by the user"):
        tersor.quantize(write(tmp_path, made("the first factor")), exclude=["*"])


def test_where_hardly_any_of_the_weights_lie_there_they_stay(tmp_path):
    text = "g (float[4, 300] x) => (float[1, 4, 20] y) { h = MatMul(x, big) y = MatMul(h, s) }"
    path = write(tmp_path, model(text, big=random(300, 300), s=random(1, 300, 20)))
    result = tersor.quantize(path)
    (told,) = (r for r in result.records if isinstance(r, Skipped) and r.layer == "s")
    assert told.reason == "its 6,000 weights are too few to make integers of them worthwhile"


def test_an_error_says_which_weights_there_are(tmp_path):
    text = "g (float[30, 300] x) => (float[30, 300] y) { h = Mul(x, table) y = Relu(h) }"
    path = write(tmp_path, model(text, table=random(30, 300)))
    with pytest.raises(UnsupportedError, match="'table' has 9,000 numbers, but only mul reads it"):
        tersor.quantize(path)
