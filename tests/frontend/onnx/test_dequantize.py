"""Quantized files are refused, or made float again on request."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

import tersor
from tersor.core.metrics import sqnr
from tersor.errors import InvalidInputError, InvalidModelError
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tests import nets
from tests.frontend.onnx.files import model, random, write

DENSE = """g (float[N, 6] x) => (float[N, 4] y) {
    w = DequantizeLinear <axis = AXIS, block_size = BLOCK> (q, s, z) y = MatMul(x, w) }"""


def run(path, *inputs):
    options = ort.SessionOptions()  # the file as it is, without kernels that round more
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    named = {x.name: array for x, array in zip(session.get_inputs(), inputs, strict=True)}
    return torch.from_numpy(session.run(None, named)[0])


def refusal(path, kind=InvalidModelError):
    with pytest.raises(kind) as caught:
        load(path, dequantize=True)
    return str(caught.value)


def rounding(text, **weights):
    """A file that rounds activations, with the usual grids in it."""
    grids = {"s": np.float32(0.1), "z": np.uint8(100), "zero": np.uint8(0)}
    return model(text, **grids, **weights)


@pytest.mark.parametrize(
    "options",
    [{}, {"weights": 4}, {"activations": 7}, {"scheme": "tensorrt"}, {"scheme": "dfq-paper"}],
    ids=str,
)
def test_our_own_files(options, tmp_path):
    floating, images = nets.plain(), nets.images(64)
    quantized = tersor.quantize(floating, images, input_range=(-5.0, 5.0), **options)
    quantized.export(tmp_path / "int8.onnx")
    with pytest.raises(InvalidModelError, match=r"dequantize=True.*--dequantize"):
        load(tmp_path / "int8.onnx")
    again = capture(load(tmp_path / "int8.onnx", dequantize=True)[0])
    assert not any("quantize" in str(node.target) for node in again.graph.nodes)
    with torch.no_grad():
        wanted, found = floating(images), again(images)
        simulated = quantized(images)
    assert sqnr(wanted, found) > (12 if "weights" in options else 25)
    assert sqnr(wanted, found) > sqnr(wanted, simulated) - 1
    tersor.quantize(again, input_range=(-5.0, 5.0)).export(tmp_path / "again.onnx")


class Calibration(CalibrationDataReader):
    """What onnxruntime's quantizer calibrates on."""

    def __init__(self):
        self.left = iter([{"input": nets.images(32).numpy()}])

    def get_next(self):
        return next(self.left, None)


def test_files_of_onnxruntime_get_their_activation_functions_back(tmp_path):
    program = torch.onnx.export(nets.plain(), (nets.images(32),), dynamo=True, verbose=False)
    program.save(tmp_path / "float.onnx")
    quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", Calibration(), QuantFormat.QDQ)
    ops = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert not ops & {"Relu", "Clip"}  # its quantizer left them to the ranges
    images = nets.images(32)
    with torch.no_grad():
        found = capture(load(tmp_path / "int8.onnx", dequantize=True)[0])(images)
        wanted = nets.plain()(images)
    assert sqnr(wanted, found) > 25
    assert sqnr(wanted, found) > sqnr(wanted, run(tmp_path / "int8.onnx", images.numpy()))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (6,)])
def test_stored_integers(dtype, shape, tmp_path):
    """Per tensor and per axis, against onnxruntime."""
    integers = np.random.default_rng(0).integers(0, 100, (6, 4)).astype(dtype)
    axis = {(6,): 0}.get(shape, 1)
    scale = np.abs(random(*shape)).astype(np.float32) + np.float32(0.1)
    zero = np.full(shape, 0 if dtype == np.int32 else 7, dtype)
    text = DENSE.replace("AXIS", str(axis)).replace("BLOCK", "0")
    path = write(tmp_path, model(text, 21, q=integers, s=scale, z=zero))
    x = random(3, 6)
    restored, _ = load(path, dequantize=True)
    torch.testing.assert_close(restored(torch.from_numpy(x)), run(path, x))
    assert set(restored.state_dict()) == {"q"}


@pytest.mark.parametrize("dtype", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8])
@pytest.mark.parametrize("block", [2, 3, 6])
def test_blocks_and_narrow_integers(dtype, block, tmp_path):
    shape = (6 // block, 4)
    integers = np.random.default_rng(0).integers(0, 8, 24)
    text = DENSE.replace("AXIS", "0").replace("BLOCK", str(block))
    made = model(text, 21, s=np.abs(random(*shape)))
    made.ir_version = 10
    zero = np.arange(np.prod(shape)) % 7
    made.graph.initializer.append(helper.make_tensor("q", dtype, (6, 4), integers))
    made.graph.initializer.append(helper.make_tensor("z", dtype, shape, zero))
    path, x = write(tmp_path, made), random(3, 6)
    restored, _ = load(path, dequantize=True)
    torch.testing.assert_close(restored(torch.from_numpy(x)), run(path, x))


def test_one_weight_on_two_scales(tmp_path):
    text = """g (float[N, 4] x) => (float[N, 4] y) {
        a = DequantizeLinear(q, s) b = DequantizeLinear(q, t) c = DequantizeLinear(q, s)
        d = Add(x, a) e = Mul(d, b) y = Sub(e, c) }"""
    scales = {"s": np.float32(0.5), "t": np.float32(2)}
    path = write(tmp_path, model(text, q=np.array([1, 2, 3, -4], np.int8), **scales))
    x = random(3, 4)
    torch.testing.assert_close(load(path, dequantize=True)[0](torch.from_numpy(x)), run(path, x))


def test_a_float_weight_that_is_rounded_keeps_its_values(tmp_path):
    text = """g (float[N, 4] x) => (float[N, 3] y) {
        a = QuantizeLinear(w, s, i) b = DequantizeLinear(a, s, i) y = MatMul(x, b) }"""
    weight = random(4, 3)
    path = write(tmp_path, rounding(text, w=weight, i=np.int8(0)))
    x = random(2, 4)
    found = load(path, dequantize=True)[0](torch.from_numpy(x))
    torch.testing.assert_close(found, torch.from_numpy(x @ weight))


@pytest.mark.parametrize("shape", [(), (4,), (6, 1)])
@pytest.mark.parametrize("read", ["y = MatMul(x, w)", "v = Abs(q) y = MatMul(x, w)"])
def test_stored_integers_that_become_floats_by_cast_and_scale(shape, read, tmp_path):
    text = f"""g (float[N, 6] x) => (float[N, 4] y) {{
        c = Cast <to = 1> (q) w = Mul(c, s) {read} }}"""
    integers = np.random.default_rng(0).integers(-100, 100, (6, 4)).astype(np.int8)
    path = write(tmp_path, model(text, q=integers, s=np.abs(random(*shape)) + np.float32(0.1)))
    x = random(3, 6)
    restored, _ = load(path, dequantize=True)
    torch.testing.assert_close(restored(torch.from_numpy(x)), run(path, x))
    assert set(restored.state_dict()) == {"w" if "Abs" in read else "q"}


MOVES = [
    ("Identity(a)", {}),
    ("Transpose <perm = [0, 1, 3, 2]> (a)", {}),
    ("MaxPool <kernel_shape = [2, 2]> (a)", {}),
    ("Reshape(a, i)", {"i": np.array([0, 16, 4])}),
    ("Clip(a, low, high)", {"low": np.uint8(90), "high": np.uint8(103)}),
    ("Clip(a, low)", {"low": np.uint8(100)}),
    ("Pad(a, i)", {"i": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    ("Pad(a, i, fill)", {"i": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "fill": np.uint8(100)}),
    ("Gather <axis = 1> (a, i)", {"i": np.array([3, 0])}),
]


@pytest.mark.parametrize(("op", "weights"), MOVES, ids=[op for op, _ in MOVES])
def test_what_moves_integers_moves_floats(op, weights, tmp_path):
    text = f"""g (float[N, 4, 4, 4] x) => (float y) {{
        a = QuantizeLinear(x, s, z) b = {op} y = DequantizeLinear(b, s, z) }}"""
    made = rounding(text, **weights)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    path, x = write(tmp_path, made), random(2, 4, 4, 4)
    found = load(path, dequantize=True)[0](torch.from_numpy(x))
    torch.testing.assert_close(found, run(path, x), atol=0.0501, rtol=0)
    assert len(np.unique(found.numpy() * 10 % 1)) > 5  # and it is not rounded


def test_a_moved_table(tmp_path):
    text = """g (int64[N] i) => (float[N, 3] y) {
        a = Gather(q, i) y = DequantizeLinear(a, s, z) }"""
    table = np.random.default_rng(0).integers(0, 255, (5, 3)).astype(np.uint8)
    path, i = write(tmp_path, rounding(text, q=table)), np.array([4, 0, 2])
    torch.testing.assert_close(load(path, dequantize=True)[0](torch.from_numpy(i)), run(path, i))


@pytest.mark.parametrize(
    ("before", "least"), [("Neg(x)", 0.0), ("Sigmoid(x)", None), ("Identity(x)", None)]
)
def test_a_range_from_zero_clips_what_may_be_negative(before, least, tmp_path):
    text = f"""g (float[N, 4] x) => (float[N, 4] y) {{
        a = {before} b = QuantizeLinear(a, s, zero) c = DequantizeLinear(b, s, zero)
        y = Neg(c) }}"""
    restored, _ = load(write(tmp_path, rounding(text)), dequantize=True)
    clips = [node for node in restored.nodes if node.op == "Clip"]
    assert len(clips) == (least is not None)
    x = torch.tensor([[-1.0, 0.3, -30.0, 2.0]])
    plain = {"Neg(x)": torch.neg, "Sigmoid(x)": torch.sigmoid}.get(before, torch.clone)(x)
    wanted = plain if least is None else plain.clamp(0, 25.5)
    torch.testing.assert_close(-restored(x), wanted)


def test_inputs_and_outputs_that_were_integers_are_floats(tmp_path):
    text = """g (uint8[N, 4] x) => (uint8[N, 3] y) {
        a = DequantizeLinear(x, s, z) b = MatMul(a, w) y = QuantizeLinear(b, s, z) }"""
    weight = random(4, 3)
    restored, _ = load(write(tmp_path, rounding(text, w=weight)), dequantize=True)
    x = torch.from_numpy(random(2, 4))
    assert restored.inputs[0].dtype == torch.float32
    torch.testing.assert_close(restored(x), x @ torch.from_numpy(weight))


def test_a_float_file_stays_the_same(tmp_path):
    text = "g (float[N, 4] x) => (float[N, 3] y) { h = MatMul(x, w) y = Relu(h) }"
    path = write(tmp_path, model(text, w=random(4, 3)))
    x = torch.from_numpy(random(2, 4))
    torch.testing.assert_close(load(path, dequantize=True)[0](x), load(path)[0](x))


REFUSED = [
    ("a = QuantizeLinear(x, s, z) b = Abs(a) y = DequantizeLinear(b, s, z)", "'b', which was comp"),
    ("a = QuantizeLinear(x, s, z) b = Cast <to = 1> (a) y = Relu(b)", "on the integers 'b'"),
    ("a = QuantizeLinear(x, s, z) y = DequantizeLinear(a, t, z)", "another scale"),
    ("a = Abs(s) b = QuantizeLinear(x, a, z) y = DequantizeLinear(b, s, z)", "not stored"),
    (
        "w = DequantizeLinear <axis = 0> (q, u) y = Add(x, w)",
        r"[5] scales for integers of shape [4]",
    ),
    ("w = DequantizeLinear <axis = 3> (q, v) y = Add(x, w)", "axis 3"),
    ("w = DequantizeLinear(q, z) y = Add(x, w)", "a scale that is not a float"),
    ("w = DequantizeLinear <axis = 0> (q, v, p) y = Add(x, w)", "zero point that does not fit"),
    ("a = Transpose(q) w = DequantizeLinear <axis = 0> (a, v) y = Add(x, w)", "per channel"),
    ("q2 = DynamicQuantizeLinear(x) y = Relu(x)", "use the float file"),
    ("a = QLinearMatMul(x, s, z, q, s, z, s, z) y = Relu(a)", "compute on integers"),
]


@pytest.mark.parametrize(("nodes", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_made_float_is_named(nodes, message, tmp_path):
    text = f"g (float[N, 4] x) => (float[N, 4] y) {{ {nodes} }}"
    scales = {"t": np.float32(0.2), "u": np.ones(5, np.float32), "v": np.ones(4, np.float32)}
    zeros = {"p": np.zeros(3, np.int8)}
    path = write(tmp_path, rounding(text, q=np.ones(4, np.int8), **scales, **zeros))
    assert message in refusal(path)


@pytest.mark.parametrize("dtype", [TensorProto.INT4, TensorProto.UINT4])
def test_narrow_integers_that_are_cast(dtype, tmp_path):
    """Somebody stores the weights of a float network in four bits."""
    text = """g (float[N, 4] x) => (float[N, 3] y) {
        v = Cast <to = 1> (q) w = Mul(v, s) y = MatMul(x, w) }"""
    made, numbers = model(text, 21, s=np.float32(0.1)), np.arange(12) % 7
    made.graph.initializer.append(helper.make_tensor("q", dtype, (4, 3), numbers))
    path, x = write(tmp_path, made), random(9, 4)
    quantized = tersor.quantize(load(path)[0], data=torch.from_numpy(x))
    written = quantized.export(tmp_path / "int8.onnx").path
    wanted = x @ (numbers.reshape(4, 3) * np.float32(0.1))
    for found in (run(written, x).numpy(), quantized(torch.from_numpy(x)).detach().numpy()):
        np.testing.assert_allclose(found, wanted, atol=0.03 * np.abs(wanted).max())


def test_other_files_are_never_quantized():
    with pytest.raises(InvalidInputError, match=r"model\.pt2.*dequantize is for"):
        load("model.pt2", dequantize=True)
