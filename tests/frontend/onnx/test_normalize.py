"""What is done to a file before it is read: it computes the same, for its own types and names."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

import tersor
from tersor.errors import InvalidModelError, UnsupportedError
from tersor.frontend.capture import capture
from tersor.frontend.onnx.model import read_model
from tersor.frontend.onnx.read import read
from tests.frontend.onnx.files import model, random, write


def run(path, **inputs):
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)


def normalized(tmp_path, made):
    """Read a file; return its contents, its path, and the path of the normalized file."""
    path = write(tmp_path, made)
    contents = read(path)
    assert contents.model is not None
    ir.save(contents.model, tmp_path / "normalized.onnx")
    if all(value.shape is not None for value in contents.model.graph.outputs):
        onnx.checker.check_model(tmp_path / "normalized.onnx")
    return contents, path, tmp_path / "normalized.onnx"


# What has changed between the first opset that is read and the one that files are converted to.
BODIES = {
    "norm": "a = Conv(x, w) b = BatchNormalization <epsilon = 0.001> (a, v, v, v, v) y = Relu(b)",
    "softmax": "a = Conv(x, w) y = Softmax <axis = 1> (a)",
    "axes": """a = Conv(x, w) b = ReduceMean <axes = [2, 3], keepdims = 1> (a)
        c = Squeeze <axes = [2, 3]> (b) y = Unsqueeze <axes = [1]> (c)""",
    "sum": "a = Conv(x, w) y = ReduceSum <axes = [1], keepdims = 0> (a)",
    "split": """a = Conv(x, w) b, c = Split <axis = 1, split = [1, 3]> (a)
        y = Concat <axis = 1> (c, b)""",
    "dropout": "a = Conv(x, w) b = Dropout(a) y = LogSoftmax <axis = 1> (b)",
    "flatten": """a = Conv(x, w) b = GlobalAveragePool(a) c = Flatten(b)
        y = Gemm <transB = 1> (c, m, v)""",
    "pad": "a = Pad <pads = [0, 0, 1, 1, 0, 0, 1, 1], value = 0.5> (x) y = Conv(a, w)",
    "slice": "a = Slice <axes = [2], starts = [1], ends = [7]> (x) y = Conv(a, w)",
    "clip": "a = Conv(x, w) y = Clip <min = 0.0, max = 6.0> (a)",
    "pool": "a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) y = Conv(a, w)",
    "scalar": "a = Conv(x, w) y = Mul(half, a)",
}
LAST = {"pad": 10, "slice": 9, "clip": 10}  # afterwards these are written in another way


@pytest.mark.parametrize("opset", [7, 9, 12])
@pytest.mark.parametrize("name", BODIES)
def test_older_opsets_are_converted(tmp_path, name, opset):
    opset = min(opset, LAST.get(name, opset))
    text = f"g (float[N, 3, 8, 8] x) => (y) {{ {BODIES[name]} }}"
    stored = {"w": random(4, 3, 3, 3), "v": np.abs(random(4)), "m": random(4, 4)}
    stored |= {"half": np.float32(0.5)}
    used = {key: value for key, value in stored.items() if f"{key}," in text or f"{key})" in text}
    made = model(text, opset, **used)
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    helper.set_model_props(made, {"author": "somebody"})
    contents, path, plain = normalized(tmp_path, made)
    assert contents.changes == (f"converted from opset {opset} to 13",)
    assert contents.model.opset_imports[""] == 13
    assert contents.model.metadata_props["author"] == "somebody"
    x = random(2, 3, 8, 8)
    (want,), (found,) = run(path, x=x), run(plain, x=x)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
    ours = read_model(path)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-5)


def test_upsampling_of_old_files(tmp_path):
    text = (
        "g (float[N, 3, 8, 8] x) => (float[N, 4, 14, 14] y) { a = Upsample(x, s) y = Conv(a, w) }"
    )
    made = model(text, 9, w=random(4, 3, 3, 3), s=np.array([1, 1, 2, 2], np.float32))
    _, path, plain = normalized(tmp_path, made)
    x = random(2, 3, 8, 8)
    np.testing.assert_allclose(run(plain, x=x)[0], run(path, x=x)[0], rtol=1e-6)


def test_large_weights_stay_shared_through_a_conversion(tmp_path):
    """Weights beside an old file are not copied by the converter."""
    text = (
        "g (float[N, 300] x) => (float[N, 200] y) { h = MatMul(x, w) y = Softmax <axis = 1> (h) }"
    )
    made = model(text, 9, w=random(300, 200))
    path = tmp_path / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    contents = read(path)
    value = contents.model.graph.initializers["w"]
    assert isinstance(value.const_value, ir.ExternalTensor)
    np.testing.assert_array_equal(contents.constants["w"], random(300, 200))


def test_a_conversion_names_no_axes(tmp_path):
    """The converter calls an axis that the file leaves open, without a name, `unk__0`."""
    made = model("g (float[N, 4] x) => (float[N, 3] y) { y = MatMul(x, w) }", 9, w=random(4, 3))
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
    contents = read(write(tmp_path, made))
    assert contents.changes == ("converted from opset 9 to 13",)
    (output,) = contents.model.graph.outputs
    assert output.shape is not None
    assert [getattr(axis, "value", axis) for axis in output.shape] == [None, 3]


def test_what_cannot_be_converted(tmp_path):
    """ONNX has no converter for a Scan of its infancy."""
    made = model("g (float[N, 4] x) => (float[N, 4] y) { y = Scan(x) }", 8)
    with pytest.raises(UnsupportedError, match=r"opset 8, and onnx.version_converter cannot"):
        read(write(tmp_path, made))


def half(kind, opset=17):
    """A network of half-precision values between a half and a float input."""
    text = f"""g ({kind}[N, 3, 8, 8] x, float[N, 4, 6, 6] z) =>
        ({kind}[N, 4, 6, 6] y, float[N, 4, 6, 6] v, {kind}[N, 4, 6, 6] s) {{
        a = Conv(x, w) c = Mul(half, a) s = Sigmoid(c) e = Cast <to = 1> (s)
        v = Add(e, z) h = Cast <to = TYPE> (v) y = Sub(h, s) }}"""
    dtype = ir.DataType[kind.upper()]
    made = model(text.replace("TYPE", str(int(dtype))), opset)
    for name, value in {"w": random(4, 3, 3, 3), "half": np.array(0.5)}.items():
        tensor = ir.tensor(value.astype(dtype.numpy()), name=name)
        made.graph.initializer.append(ir.to_proto(tensor))
    return made


def test_a_file_in_double_computes_in_float32(tmp_path):
    text = (
        "g (double[N, 4] x) => (double[N, 3] y) { a = MatMul(x, w) h = Relu(a) y = MatMul(h, v) }"
    )
    weights = {"w": random(4, 8).astype(np.float64), "v": random(8, 3).astype(np.float64)}
    contents, path, _ = normalized(tmp_path, model(text, **weights))
    assert contents.changes == ("computed in float32: the file has values in double",)
    x = random(16, 4).astype(np.float64)
    quantized = tersor.quantize(tersor.load(path)[0], data=x)
    (want,), (found,) = run(path, x=x), run(quantized.export(tmp_path / "q.onnx").path, x=x)
    assert found.dtype == want.dtype == np.float64
    assert np.abs(found - want).max() < 0.03 * np.abs(want).max()


def test_some_values_in_double_make_no_file_in_double(tmp_path):
    text = """g (float[N, 4] x) => (float[N, 3] y) {
        d = Cast <to = 11> (x) e = Mul(d, s) f = Cast <to = 1> (e) y = MatMul(f, w) }"""
    contents, *_ = normalized(tmp_path, model(text, w=random(4, 3), s=np.float64(0.1)))
    assert contents.changes == ()
    assert contents.constants["s"].dtype == np.float64


def test_float16_files_compute_in_float32(tmp_path):
    contents, path, plain = normalized(tmp_path, half("float16"))
    assert contents.changes == ("computed in float32: the file has values in float16",)
    assert all(value.dtype == np.float32 for value in contents.constants.values())
    inputs = {"x": random(2, 3, 8, 8).astype(np.float16), "z": random(2, 4, 6, 6)}
    for want, found in zip(run(path, **inputs), run(plain, **inputs), strict=True):
        assert want.dtype == found.dtype
        np.testing.assert_allclose(found, want, rtol=2e-3, atol=2e-3)


def test_bfloat16_files_compute_in_float32(tmp_path):
    """onnxruntime has no bfloat16 convolution on CPUs; the float32 file with its casts it runs."""
    contents, _, plain = normalized(tmp_path, half("bfloat16"))
    assert contents.changes == ("computed in float32: the file has values in bfloat16",)
    types = [x.type for x in ort.InferenceSession(plain).get_inputs()]
    assert types == ["tensor(bfloat16)", "tensor(float)"]
    x, z = torch.from_numpy(random(2, 3, 8, 8)).bfloat16(), torch.from_numpy(random(2, 4, 6, 6))
    y, v, s = read_model(tmp_path / "model.onnx")(x, z)
    assert (y.dtype, v.dtype, s.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
    weight = torch.from_numpy(random(4, 3, 3, 3)).bfloat16().float()
    wanted = torch.sigmoid(0.5 * torch.nn.functional.conv2d(x.float(), weight)) + z
    torch.testing.assert_close(v, wanted)


def test_a_half_precision_file_goes_through(tmp_path):
    text = """g (float16[N, 3, 8, 8] x) => (float16[N, 4] y) { a = Conv(x, w) b = Relu(a)
        c = GlobalAveragePool(b) d = Flatten(c) y = MatMul(d, m) }"""
    made = model(text, w=random(8, 3, 3, 3).astype(np.float16), m=random(8, 4).astype(np.float16))
    path = write(tmp_path, made)
    x = random(32, 3, 8, 8)
    quantized = tersor.quantize(tersor.load(path)[0], data=torch.from_numpy(x))
    assert any("float16" in record.what for record in quantized.records if record.step == "read")
    quantized.export(tmp_path / "int8.onnx")
    session = ort.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    ends = (*session.get_inputs(), *session.get_outputs())
    assert [end.type for end in ends] == ["tensor(float16)", "tensor(float16)"]
    (want,), (found,) = (run(p, x=x.astype(np.float16)) for p in (path, tmp_path / "int8.onnx"))
    error = np.square(want.astype(np.float64) - found).sum()
    assert 10 * np.log10(np.square(want.astype(np.float64)).sum() / error) > 25


PLAIN = "g (float[N, 3, 8, 8] x) => (float[N, 4, 6, 6] y) { a = Conv(x, w) y = Relu(a) }"


def with_sizes(*sizes):
    made = model(PLAIN, w=random(4, 3, 3, 3))
    for value in (made.graph.input[0], made.graph.output[0]):
        del value.type.tensor_type.shape.dim[:]
        for size in sizes:
            dim = value.type.tensor_type.shape.dim.add()
            if isinstance(size, int):
                dim.dim_value = size
            elif size is not None:
                dim.dim_param = size
    return made


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("size", [-1, None, "", "?"])
def test_sizes_that_say_nothing_are_open(tmp_path, size, opset):
    made = with_sizes(size, 3, size, size)
    made.opset_import[0].version = opset
    made.graph.output[0].type.tensor_type.ClearField("shape")
    contents, _, plain = normalized(tmp_path, made)
    assert contents.inputs[0].shape == ("x_axis_0", 3, "x_axis_2", "x_axis_3")
    shape = ort.InferenceSession(plain).get_inputs()[0].shape
    assert not any(isinstance(axis, int) for axis in (shape[0], *shape[2:]))
    captured = capture(read_model(tmp_path / "model.onnx"), torch.zeros(2, 3, 9, 9))
    assert captured(torch.zeros(5, 3, 9, 9)).shape == (5, 4, 7, 7)


def test_an_input_needs_its_rank_and_the_rest_needs_nothing(tmp_path):
    made = model(PLAIN, 12, w=random(4, 3, 3, 3))
    made.graph.output[0].type.tensor_type.ClearField("shape")
    assert normalized(tmp_path, made)[0].outputs == ("y",)
    made.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedError, match="number of axes"):
        read(write(tmp_path, made))


def test_stored_values_that_are_listed_as_inputs(tmp_path):
    made = model(PLAIN, w=random(4, 3, 3, 3))
    made.ir_version = 3
    made.opset_import[0].version = 8
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 3, 3]))
    contents, path, plain = normalized(tmp_path, made)
    assert [x.name for x in contents.inputs] == ["x"]
    assert [x.name for x in contents.model.graph.inputs] == ["x"]
    x = random(2, 3, 8, 8)
    np.testing.assert_array_equal(run(plain, x=x)[0], run(path, x=x)[0])


@pytest.mark.parametrize("names", [("", ""), ("same", "same"), ("b", "")])
def test_every_node_gets_a_name_of_its_own(tmp_path, names):
    made = model(PLAIN, w=random(4, 3, 3, 3))
    for node, name in zip(made.graph.node, names, strict=True):
        node.name = name
    contents, *_ = normalized(tmp_path, made)
    found = [node.name for node in contents.nodes]
    assert len({*found, ""}) == 3
    assert [node.name for node in contents.model.graph] == found


def test_types_that_a_file_mixes_by_mistake(tmp_path):
    made = model(PLAIN, w=random(4, 3, 3, 3).astype(np.float16))
    with pytest.raises(InvalidModelError, match="no sound ONNX file"):
        read(write(tmp_path, made))
