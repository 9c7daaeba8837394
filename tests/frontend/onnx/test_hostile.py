"""Files that are sound ONNX, or nearly, and yet no network to quantize."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import tersor
from tersor.errors import TersorError
from tersor.frontend.load import load
from tests.frontend.onnx.files import model, random, write

GEMM = {"w": random(4, 3), "b": random(3)}
DENSE = "g (float[N, 4] x) => (float[N, 3] y) { h = MatMul(x, w) y = Relu(h) }"


def dense(value=None, dtype=np.float32, text=DENSE, shape=(4, 3)):
    weight = random(*shape)
    if value is not None:
        weight[1, 2] = value
    return model(text, w=weight.astype(dtype))


def with_input(**fields):
    made = dense()
    kind = made.graph.input[0].type.tensor_type
    if "dtype" in fields:
        kind.elem_type = fields["dtype"]
    else:
        kind.ClearField("shape")
    return made


def with_dims(size):
    made = dense()
    made.graph.initializer[0].dims[0] = size
    return made


def twice(of):
    made = dense()
    ends = made.graph.input if of == "input" else made.graph.output
    ends.append(ends[0])
    return made


def renamed(name):
    made = dense()
    made.graph.initializer[0].name = made.graph.node[0].input[1] = name
    return made


REFUSED = {
    "NaN weight": (dense(np.nan), r"'w' has 1 NaN or infinite values of 12"),
    "infinite weight": (dense(np.inf), r"'w' has 1 NaN or infinite values of 12"),
    "mixed types": (dense(dtype=np.float16), r"no sound ONNX file"),
    "complex weight": (dense(dtype=np.complex64), r"'w' has type COMPLEX64"),
    "complex input": (with_input(dtype=TensorProto.COMPLEX64), r"input 'x' has type COMPLEX64"),
    "string input": (with_input(dtype=TensorProto.STRING), r"input 'x' is text"),
    "no rank": (with_input(), r"input 'x' .* shape None; only tensors with a known number"),
    "nothing computed": (
        model("g (float[N, 4] x) => (float[N, 4] x) { }"),
        r"there is nothing to quantize",
    ),
    "no layer": (
        model("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }"),
        r"there is nothing to quantize",
    ),
    "no channels": (
        dense(text=DENSE.replace("N, 3", "N, 0"), shape=(4, 0)),
        r"'w' has shape \(0, 4\): a layer without channels",
    ),
    "no samples": (
        dense(text=DENSE.replace("N", "0")),
        r"shape \(0, 4\).*a batch of at least 1",
    ),
    "absurd input": (
        model(f"g (float[N, {2**40}] x) => (float[N, 4] y) {{ y = Relu(x) }}"),
        r"input 'x' has shape .*too large for an example",
    ),
    "negative size": (
        model("g (float[N, 4] x) => (float[N, 4] y) { y = Reshape(x, s) }", s=np.array([-5, 3])),
        r"'y' \(Reshape\) .* -5",
    ),
    "wrong size of a weight": (with_dims(5), r"no sound ONNX file: cannot reshape .* 12 into"),
    "absurd size of a weight": (with_dims(2**40), r"no sound ONNX file: cannot reshape .* 12"),
    "an input twice": (twice("input"), r"two inputs have the same name"),
    "an output twice": (twice("output"), r"two outputs have the same name"),
    "control flow": (
        model("g (float[N, 4] x) => (float[N, 4] y) { y = Loop(x, x) }"),
        r"'y' \(Loop\) is in the file, and onnxruntime cannot run it: .*body",
    ),
    "missing operand": (renamed(""), r"'h' \(MatMul\) cannot be computed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unfit_files(name, tmp_path):
    made, message = REFUSED[name]
    with pytest.raises(TersorError, match=message):
        tersor.quantize(tersor.load(write(tmp_path, made))[0])


def test_a_file_without_version(tmp_path):
    made = dense()
    del made.opset_import[:]
    with pytest.raises(TersorError, match="names no version of the ONNX operator set"):
        tersor.load(write(tmp_path, made))


NAMES = [
    "слой/один.вес",
    "a.b",
    "a/b",
    "a.",
    "..",
    "class",
    "a b",
    "weight",
    "self",
    "to",
    "n" * 500,
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_any_name_goes_through(name, tmp_path):
    path = write(tmp_path, renamed(name))
    quantized = tersor.quantize(tersor.load(path)[0], input_range=(-3.0, 3.0))
    quantized.export(tmp_path / "int8.onnx")
    x = random(8, 4).clip(-3, 3)
    wanted, found = (
        ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for file in (path, tmp_path / "int8.onnx")
    )
    assert np.abs(wanted - found).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("second", ["MatMul", "Gemm <transB = 1>"])
def test_a_tied_weight_is_stored_once(second, tmp_path):
    text = f"""g (float[N, 4] x) => (float[N, 4] y) {{
        a = MatMul(x, w) b = Relu(a) y = {second} (b, w) }}"""
    path = write(tmp_path, model(text, w=random(4, 4)))
    quantized = tersor.quantize(tersor.load(path)[0], input_range=(-3.0, 3.0))
    quantized.export(tmp_path / "int8.onnx")
    stored = onnx.load(tmp_path / "int8.onnx").graph.initializer
    weights = [x for x in stored if x.data_type == TensorProto.INT8 and len(x.dims) == 2]
    assert len(weights) == (1 if second == "MatMul" else 2)  # a transposed copy is another weight
    assert quantized.verify(tmp_path / "int8.onnx", latency=False).sqnr > 40


def test_an_attribute_of_another_type(tmp_path):
    made = model("g (float[N, 4] x) => (float[N, 3] y) { y = Gemm(x, w, b) }", **GEMM)
    flag = onnx.helper.make_tensor("t", TensorProto.INT64, [2], [0, 1])
    made.graph.node[0].attribute.append(onnx.helper.make_attribute("transB", flag))
    with pytest.raises(TersorError, match=r"'transB' .*\(Gemm\) is of type TENSOR; .* takes INT"):
        tersor.load(write(tmp_path, made))


def test_an_attribute_of_another_type_does_not_end_the_process(tmp_path):
    """onnx's converter of old files reads it as what it should be."""
    node = helper.make_node("ReduceSum", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("axes", 2147483647))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(TersorError, match="'axes'"):
        load(tmp_path / "a.onnx")
