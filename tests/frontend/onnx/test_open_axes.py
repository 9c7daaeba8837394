"""What a file leaves open stays open: under its names, at other sizes, or it is told why not."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

import tersor
from tersor.errors import InvalidInputError
from tersor.export.onnx.anew import write_anew
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tests.frontend.onnx.files import model, random, write

KERNEL = {"w": random(4, 3, 3, 3), "b": random(4)}
PADDED = "<pads = [1, 1, 1, 1]>"
HALF = "<pads = [1, 1, 1, 1], strides = [2, 2]>"
UP = {"scales": np.array([1, 1, 2, 2], np.float32)}
PICTURE = "(float[N, 3, H, W] x)"


def picture(*sizes):
    return {"x": random(sizes[0], 3, *sizes[1:])}


def tokens(batch, length):
    return {"ids": np.random.default_rng(0).integers(0, 9, (batch, length))}


#: Graph, weights, inputs of the example, inputs of other sizes.
CASES = {
    "convolutions": (
        f"g {PICTURE} => (float[N, 4, H, W] y) {{ a = Conv {PADDED} (x, w, b) y = Relu(a) }}",
        KERNEL,
        picture(1, 8, 8),
        picture(3, 6, 13),
    ),
    "pixels doubled": (
        f"""g {PICTURE} => (float[N, 4, P, Q] y) {{ a = Conv {HALF} (x, w, b)
        y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",
        nearest_mode = "floor"> (a, , scales) }}""",
        {**KERNEL, **UP},
        picture(1, 8, 8),
        picture(2, 16, 10),
    ),
    "interpolated": (
        f"""g {PICTURE} => (float[N, 4, P, Q] y) {{ a = Conv {HALF} (x, w, b)
        y = Resize <mode = "linear"> (a, , scales) }}""",
        {**KERNEL, **UP},
        picture(1, 8, 8),
        picture(2, 16, 10),
    ),
    "resized to the size of another value": (
        f"""g {PICTURE} => (float[N, 4, H, W] y) {{ a = Conv {PADDED} (x, w, b)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
        s = Shape(a) q = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",
        nearest_mode = "floor"> (p, , , s) y = Add(a, q) }}""",
        KERNEL,
        picture(1, 8, 8),
        picture(2, 16, 12),
    ),
    "windows of an odd size": (
        f"""g {PICTURE} => (float[N, 4, P, Q] y) {{
        a = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w, b) y = Relu(a) }}""",
        KERNEL,
        picture(1, 8, 8),
        picture(2, 10, 7),
    ),
    "reflected edges": (
        f"""g {PICTURE} => (float[N, 4, H, W] y) {{ a = Pad <mode = "reflect"> (x, pads)
        y = Conv (a, w, b) }}""",
        {**KERNEL, "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
        picture(1, 8, 8),
        picture(2, 10, 7),
    ),
    "the length of a text": (
        """g (int64[N, L] ids) => (float[N, L, 2] y) { e = Gather(table, ids)
        m = ReduceMean <axes = [1]> (e) s = Sub(e, m) y = MatMul(s, w) }""",
        {"table": random(9, 4), "w": random(4, 2)},
        tokens(1, 6),
        tokens(3, 5),
    ),
    "the length of a sound": (
        """g (float[1, L] sound) => (float[1, 4, F] y) { c = Reshape(sound, shape)
        y = Conv <strides = [4]> (c, w) }""",
        {"shape": np.array([1, 1, -1]), "w": random(4, 1, 8)},
        {"sound": random(1, 64)},
        {"sound": random(1, 51)},
    ),
    "the length of a cache": (
        """g (float[N, S, 4] x, float[N, P, 4] past) => (float[N, S, 4] y, float[N, T, 4] all) {
        all = Concat <axis = 1> (past, x) t = Transpose <perm = [0, 2, 1]> (all)
        a = MatMul(x, t) s = Softmax(a) v = MatMul(s, all) y = MatMul(v, w) }""",
        {"w": random(4, 4)},
        {"x": random(1, 3, 4), "past": random(1, 5, 4)},
        {"x": random(2, 1, 4), "past": random(2, 9, 4)},
    ),
    "axes that two inputs share": (
        """g (float[D, K] x, float[K, D] z) => (float[D, D] y) { a = MatMul(x, z)
        b = Relu(a) y = Add(a, b) }""",
        {},
        {"x": random(3, 5), "z": random(5, 3)},
        {"x": random(4, 2), "z": random(2, 4)},
    ),
}


def run(path, inputs):
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)


def ends(path):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [(x.name, x.type, x.shape) for x in (*session.get_inputs(), *session.get_outputs())]


def tensors(inputs):
    return {name: torch.from_numpy(x) for name, x in inputs.items()}


@pytest.mark.parametrize(("text", "weights", "example", "other"), CASES.values(), ids=CASES)
def test_open_axes_stay_open(text, weights, example, other, tmp_path):
    path = write(tmp_path, model(text, **weights))
    network = capture(load(path)[0], tensors(example))
    assert [record for record in network.records if record.step == "capture"] == []
    edited = export_onnx(network, tmp_path / "edited.onnx").path
    assert ends(edited) == ends(path)
    new = write_anew(network).model
    ir.save(new, anew := tmp_path / "anew.onnx")
    assert ends(anew) == [
        (name, kind, ["batch", *shape[1:]] if shape[0] == 1 else shape)  # is freed, too
        for name, kind, shape in ends(path)
    ]
    for inputs in (example, other):
        wanted, computed = run(path, inputs), network(*tensors(inputs).values())
        computed = computed if isinstance(computed, tuple) else (computed,)
        for number, want in enumerate(wanted):
            for found in (run(edited, inputs), run(anew, inputs), [x.detach() for x in computed]):
                np.testing.assert_allclose(found[number], want, rtol=1e-4, atol=1e-5)


def test_an_axis_that_a_reshape_fixes_is_told(tmp_path):
    text = """g (float[N, T, 4] x) => (float[N, 2] y) { a = Reshape(x, shape)
        y = MatMul(a, w) }"""
    weights = {"shape": np.array([-1, 24]), "w": random(24, 2)}
    path = write(tmp_path, model(text, **weights))
    network = capture(load(path)[0], torch.from_numpy(random(1, 6, 4)))
    (record,) = network.records
    assert record.layer == "x"
    assert record.reason.startswith("axis 'T' is fixed at 6: with ")
    written = write_anew(network).model
    ir.save(written, anew := tmp_path / "anew.onnx")
    assert ends(anew)[0] == ("x", "tensor(float)", ["N", 6, 4])
    x = random(3, 6, 4)
    np.testing.assert_allclose(run(anew, {"x": x})[0], run(path, {"x": x})[0], rtol=1e-5)


def test_samples_of_another_size_than_a_fixed_one_are_refused_with_the_reason(tmp_path):
    text = """g (float[N, T, 4] x) => (float[N, 2] y) { a = Reshape(x, shape)
        y = MatMul(a, w) }"""
    weights = {"shape": np.array([-1, 24]), "w": random(24, 2)}
    loaded, _ = load(write(tmp_path, model(text, **weights)))
    data = [torch.randn(4, 6, 4), torch.randn(4, 12, 4)]
    with pytest.raises(InvalidInputError, match=r"axis 'T' is fixed at 6.*give samples of that"):
        tersor.quantize(loaded, data=data)


@pytest.mark.parametrize("shape", [[1, 4, -1], [-1, 4, 36], [0, 0, -1]])
def test_a_fixed_batch_costs_no_open_axis(shape, tmp_path):
    text = f"""g (float[1, 3, H, W] x) => (float[1, 4, P] y) {{ a = Conv {PADDED} (x, w, b)
        y = Reshape(a, shape) }}"""
    path = write(tmp_path, model(text, **KERNEL, shape=np.array(shape)))
    x = picture(1, 6, 6)
    network = capture(load(path)[0], tensors(x))
    other = x if shape[2] > 0 else picture(1, 9, 4)
    for inputs in (x, other):
        want = run(path, inputs)[0]
        np.testing.assert_allclose(network(torch.from_numpy(inputs["x"])).detach(), want, atol=1e-5)
    is_told = [record.reason for record in network.records]
    assert len(is_told) == (0 if shape[2] < 0 else 2)


def test_axes_of_the_same_name_have_the_same_size(tmp_path):
    text = """g (float[D, K] x, float[D, K] z) => (float[D, K, 3] y) { a = Add(x, z)
        b = Reshape(a, shape) y = MatMul(b, w) }"""
    weights = {"shape": np.array([0, 0, 1]), "w": random(1, 3)}
    loaded, _ = load(write(tmp_path, model(text, **weights)))
    with pytest.raises(InvalidInputError, match=r"axis 'K' has size 3 in input 'x' and 4 in input"):
        capture(loaded, {"x": torch.randn(2, 3), "z": torch.randn(2, 4)})
    network = capture(loaded, {"x": torch.randn(2, 3), "z": torch.randn(2, 3)})
    data = {"x": torch.randn(2, 5), "z": torch.randn(2, 4)}
    with pytest.raises(InvalidInputError, match=r"axis 'K' has size 5 in input 'x' and 4 in input"):
        tersor.quantize(network, data=data)


def test_samples_show_sizes(tmp_path):
    text, weights, *_ = CASES["convolutions"]
    path = write(tmp_path, model(text, **weights))
    x = torch.randn(12, 3, 8, 8)
    for data in (x, iter([(x[:6], torch.arange(6)), (x[6:], torch.arange(6))]), [{"x": x, "y": 1}]):
        quantized = tersor.quantize(load(path)[0], data=data)
        assert quantized.network.args[0].shape == (4, 3, 8, 8)
        assert "12 samples" in str(quantized.summary())
    written = quantized.export(tmp_path / "int8.onnx").path
    assert ends(written) == ends(path)


def test_without_samples_an_example_is_asked_for(tmp_path):
    text, weights, *_ = CASES["convolutions"]
    loaded, _ = load(write(tmp_path, model(text, **weights)))
    with pytest.raises(InvalidInputError, match=r"'H' and 'W' of input 'x' open.*--example 1,3,"):
        tersor.quantize(loaded)


def test_the_batch_of_a_state_is_its_second_axis(tmp_path):
    """A state of two layers, and a batch of two: both sizes are 2 by chance."""
    text = """g (float[N, 4] x, float[2, N, 3] s) => (float[N, 3] y, float[2, N, 3] t) {
        a = MatMul(x, w) t = Add(s, a) y = ReduceSum <keepdims = 0> (t, axis) }"""
    path = write(tmp_path, model(text, w=random(4, 3), axis=np.array([0])))
    inputs = {"x": random(2, 4), "s": random(2, 2, 3)}
    network = capture(load(path)[0], tuple(torch.from_numpy(x) for x in inputs.values()))
    assert not network.records
    inputs = {"x": random(5, 4), "s": random(2, 5, 3)}
    found = network(*(torch.from_numpy(x) for x in inputs.values()))
    for have, want in zip(found, run(path, inputs), strict=True):
        np.testing.assert_allclose(have.detach(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_axes_without_names_that_vary_together_are_one(batch, tmp_path):
    """The state of a recurrent layer has its batch in the second axis."""
    text = """g (float[N, 4] x, float[1, M, 3] h) => (float[L, D, B, 3] y) {
        one = Constant <value_ints = [0]> () s = Unsqueeze(x, one)
        y = LSTM <hidden_size = 3> (s, W, R, , , h, h) }"""
    made = model(text, W=random(1, 12, 4), R=random(1, 12, 3, seed=1))
    for value in made.graph.input:
        for size in value.type.tensor_type.shape.dim:
            size.ClearField("dim_param")
    path = write(tmp_path, made)
    inputs = {"x": random(batch, 4), "h": random(1, batch, 3)}
    network = capture(load(path)[0], tuple(torch.from_numpy(x) for x in inputs.values()))
    assert not network.records
    inputs = {"x": random(5, 4), "h": random(1, 5, 3)}
    found = network(*(torch.from_numpy(x) for x in inputs.values()))
    (want,) = run(path, inputs)
    np.testing.assert_allclose(found.detach(), want, rtol=1e-5, atol=1e-6)
