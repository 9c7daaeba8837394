"""What is refused, and how it is said."""

import random as randomness

import numpy as np
import onnx
import pytest
import torch

from tersor.errors import InvalidInputError, InvalidModelError, TersorError, UnsupportedError
from tersor.frontend.load import load
from tests.frontend.onnx.files import model, random, write

PLAIN = "g (float[N, 4] x) => (float[N, 3] y) { h = MatMul(x, w) y = Relu(h) }"


def refusal(path, kind):
    with pytest.raises(kind) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("opset", [0, 99])
def test_unknown_opsets(tmp_path, opset):
    message = refusal(write(tmp_path, model(PLAIN, opset, w=random(4, 3))), UnsupportedError)
    assert f"opset {opset}" in message


def test_a_quantized_file(tmp_path):
    text = """g (float[N, 4] x) => (float[N, 4] y) {
        q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
    made = model(text, s=np.float32(0.1), z=np.uint8(3))
    assert "already quantized" in refusal(write(tmp_path, made), InvalidModelError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("g (float[N, 4] x) => (float[N, 4] y) { y = Add(x, nothing) }", "nothing"),
        ("g (float[N, 4] x) => (float[N, 4] y) { a = Relu(x) }", "y"),
        ("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) y = Abs(x) }", "y"),
        ("g (float[N, 4] x) => (float[N, 4] y) { a = Add(x, b) b = Relu(a) y = Abs(b) }", "cycl"),
    ],
)
def test_graphs_that_contradict_themselves(tmp_path, text, message):
    assert message in refusal(write(tmp_path, model(text)), InvalidModelError)


def test_values_of_absurd_size_take_no_memory(tmp_path):
    text = "g () => (float[N] y) { a = ConstantOfShape(s) y = Relu(a) }"
    made = model(text, s=np.array([2**40, 2**20]))
    assert "absurd" in refusal(write(tmp_path, made), InvalidModelError)


def test_weights_beside_the_file(tmp_path):
    made, x = model(PLAIN, w=random(4, 3)), torch.from_numpy(random(2, 4))
    path = tmp_path / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    wanted = torch.relu(x @ torch.from_numpy(random(4, 3)))
    torch.testing.assert_close(load(path)[0](x), wanted)
    (tmp_path / "weights.bin").write_bytes(b"short")
    assert "weights.bin" in refusal(path, InvalidModelError)
    (tmp_path / "weights.bin").unlink()
    assert "weights.bin" in refusal(path, InvalidModelError)


def test_weights_outside_of_the_folder(tmp_path):
    made = model(PLAIN, w=random(4, 3))
    (tmp_path / "secret").write_bytes(bytes(48))
    (tmp_path / "inside").mkdir()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    message = refusal(write(tmp_path / "inside", made), InvalidModelError)
    assert (
        "'w' is in '../secret', outside of the file's folder" in message or "../secret" in message
    )


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-5"), ("offset", "abc"), ("length", ""), ("length", "9" * 30)]
)
def test_weights_outside_at_no_place(key, value, tmp_path):
    made = model(PLAIN, w=random(4, 3))
    (tmp_path / "w.bin").write_bytes(bytes(48))
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for entry in {"location": "w.bin", "offset": "0", "length": "48", key: value}.items():
        tensor.external_data.add(key=entry[0], value=entry[1])
    message = refusal(write(tmp_path, made), InvalidModelError)
    assert f"'w' has the {key} {value!r} in another file, which is no number of bytes" in message


def test_damaged_bytes_never_crash(tmp_path):
    text = """g (float[N, 3, 8, 8] x) => (float[N, 5] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, k) b = Relu(a) c = GlobalAveragePool(b)
        d = Flatten(c) y = Gemm <transB = 1> (d, w, v) }"""
    made = model(text, k=random(4, 3, 3, 3), w=random(5, 4), v=random(5))
    sound, chance = made.SerializeToString(), randomness.Random(0)  # noqa: S311
    for trial in range(150):
        damaged = bytearray(sound)
        if trial % 3 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        for _ in range(1 + trial % 4):
            if damaged:
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path = write(tmp_path, bytes(damaged))
        try:
            loaded, _ = load(path)
            loaded(*loaded.example())
        except TersorError:
            pass


def test_missing_and_wrong_files(tmp_path):
    assert "there is no such file" in refusal(tmp_path / "missing.onnx", InvalidInputError)
    assert "no sound ONNX file" in refusal(write(tmp_path, b"no model"), InvalidModelError)
    assert "is empty; copy or export it again" in refusal(write(tmp_path, b""), InvalidModelError)
