"""Files with values that onnx-ir does not read, or without an import."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

import tersor
from tersor.errors import InvalidModelError, UnsupportedError
from tersor.frontend.onnx.read import read
from tests.frontend.onnx.files import model, random, write


def run(path, **inputs):
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)


def test_text_that_comes_in_is_told_with_what_to_do(tmp_path):
    text = """g (string[N] x) => (float[N, 3] y) {
        h = ai.onnx.ml.LabelEncoder <keys_strings = ["a"], values_floats = [1.0]> (x)
        i = Unsqueeze(h, one) y = MatMul(i, w) }"""
    made = model(text, one=np.array([1]), w=random(1, 3))
    with pytest.raises(UnsupportedError, match=r"input 'x' is text.*LabelEncoder.*extract_model"):
        tersor.load(write(tmp_path, made))


def sparse(dense: np.ndarray, name: str, is_linear: bool) -> onnx.SparseTensorProto:
    places = np.flatnonzero(dense) if is_linear else np.argwhere(dense)
    values = numpy_helper.from_array(dense[dense != 0], name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(places), list(dense.shape))


@pytest.mark.parametrize("is_linear", [True, False])
@pytest.mark.parametrize("where", ["initializer", "Constant"])
def test_sparse_values_are_read_as_dense_ones(where, is_linear, tmp_path):
    dense = random(4, 3) * (random(4, 3, seed=1) > 0)
    made = model("g (float[N, 4] x) => (float[N, 3] y) { y = MatMul(x, w) }")
    value = sparse(dense, "w", is_linear)
    if where == "initializer":
        made.graph.sparse_initializer.append(value)
    else:
        made.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=value))
    path = write(tmp_path, made)
    contents = read(path)
    np.testing.assert_array_equal(contents.constants["w"], dense)
    assert contents.changes == ("1 sparse values are stored as dense ones",)
    written = tersor.quantize(tersor.load(path)[0]).export(tmp_path / "int8.onnx").path
    x = random(5, 4)
    np.testing.assert_allclose(run(written, x=x)[0], run(path, x=x)[0], atol=0.2)


@pytest.mark.parametrize("dims", [[2**40, 2**40], [-1, 3], [2, 3]])
def test_a_damaged_sparse_value_is_refused(dims, tmp_path):
    made = model("g (float[N, 4] x) => (float[N, 3] y) { y = MatMul(x, w) }")
    made.graph.sparse_initializer.append(sparse(random(4, 3), "w", True))
    made.graph.sparse_initializer[0].dims[:] = dims
    with pytest.raises(InvalidModelError, match=r"sparse value 'w' "):
        read(write(tmp_path, made))


def test_an_operator_set_that_is_not_imported(tmp_path):
    """onnxruntime takes such a file, onnx's checker does not."""
    text = """g (float[N, 4] x) => (float[N, 3] y) {
        s = ai.onnx.ml.Scaler <offset = [0.5], scale = [2.0]> (x) y = MatMul(s, w) }"""
    path, x = write(tmp_path, model(text, w=random(4, 3))), random(5, 4)
    written = tersor.quantize(tersor.load(path)[0], data=x).export(tmp_path / "int8.onnx").path
    np.testing.assert_allclose(run(written, x=x)[0], run(path, x=x)[0], atol=0.2)


@pytest.mark.parametrize("opset", [1, 6, 28])
def test_the_oldest_and_the_newest_opset(opset, tmp_path):
    text = "g (float[N, 4] x) => (float[N, 3] y) { h = MatMul(x, w) y = Relu(h) }"
    path, x = write(tmp_path, model(text, opset, w=random(4, 3))), random(5, 4)
    contents = read(path)
    assert len(contents.changes) == 1
    assert str(opset) in contents.changes[0]
    written = tersor.quantize(tersor.load(path)[0], data=x).export(tmp_path / "int8.onnx").path
    np.testing.assert_allclose(run(written, x=x)[0], np.maximum(x @ random(4, 3), 0), atol=0.1)
