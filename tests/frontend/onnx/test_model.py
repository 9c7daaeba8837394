"""A file becomes the same network as a module, with the file's own names."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tersor
from tersor.cli import app
from tersor.data.invented.synthetic import vocabularies
from tersor.errors import InvalidInputError
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.frontend.onnx.model import read_model
from tersor.graph.carried import carried_nodes, part_ops
from tersor.graph.layers import layers
from tests.frontend.onnx.files import model, random, write

NAMES = """g (float[N, 3, 8, 8] "in/put:0") => (float[N, 5] "out.put") {
    ["/stem/Conv"] a = Conv <pads = [1, 1, 1, 1]> ("in/put:0", k, c) b = Relu(a)
    p = GlobalAveragePool(b) s = Shape(p) n = Gather(s, zero) m = Unsqueeze(n, axis)
    t = Concat <axis = 0> (m, minus) d = Reshape(p, t) e = MatMul(d, w) "out.put" = Add(v, e) }"""


def named(tmp_path):
    """A file with awkward names and a computed shape."""
    text = NAMES.replace('"in/put:0"', "input_0").replace('"out.put"', "output_0")
    weights = {"k": random(4, 3, 3, 3), "c": random(4), "w": random(4, 5), "v": random(5)}
    shape = {"zero": np.int64(0), "axis": np.array([0]), "minus": np.array([-1])}
    made = model(text, **weights, **shape)
    new = {"input_0": "in/put:0", "output_0": "out.put", "k": "stem.weight", "c": "größe/β"}
    for node in made.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*made.graph.input, *made.graph.output, *made.graph.initializer):
        value.name = new.get(value.name, value.name)
    return write(tmp_path, made)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = named(tmp_path_factory.mktemp("file"))
    return path, capture(load(path)[0])


def test_it_computes_what_onnxruntime_computes(network):
    path, captured = network
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = random(batch, 3, 8, 8, seed=batch)
        (wanted,) = session.run(None, {"in/put:0": x})
        torch.testing.assert_close(captured(torch.from_numpy(x)), torch.from_numpy(wanted))


def test_names_survive(network, tmp_path):
    _, captured = network
    assert set(captured.module.state_dict()) == {"stem.weight", "größe/β", "w", "v"}
    assert [layer.name for layer in layers(captured)] == ["stem", "w"]
    assert "stem_Conv" in [node.name for node in captured.graph.nodes]
    written = export_onnx(captured, tmp_path / "again.onnx")
    assert (written.inputs, written.outputs) == (("in/put:0",), ("out.put",))


def test_a_stored_matrix_is_a_linear_layer(network):
    _, captured = network
    *_, linear = layers(captured)
    assert linear.is_linear
    assert linear.weight.shape == (5, 4)
    assert linear.bias is not None


def test_a_fixed_batch_is_freed(tmp_path):
    text = """g (float[1, 4, 6] x) => (float[1, 4, 6] y) {
        a = Reshape(x, split) b = Transpose <perm = [1, 0, 2]> (a) c = Reshape(b, join)
        d = Gather <axis = 0> (c, zero) e = Gather <axis = 0> (c, one)
        y = Concat <axis = 1> (d, e) }"""
    shapes = {"split": np.array([2, 2, 6]), "join": np.array([2, -1, 2, 6])}
    path = write(tmp_path, model(text, **shapes, zero=np.int64(0), one=np.int64(1)))
    captured = capture(load(path)[0])
    x = torch.from_numpy(random(3, 4, 6))
    wanted = x.reshape(3, 2, 2, 6).transpose(1, 2).reshape(3, 4, 6)
    torch.testing.assert_close(captured(x), wanted)


def test_a_batch_that_is_mixed_stays_fixed(tmp_path):
    text = """g (float[2, 4] x) => (float[2, 4] y) { m = ReduceMean <axes = [0]> (x)
        y = Sub(x, m) }"""
    captured = capture(load(write(tmp_path, model(text)))[0])
    x = torch.from_numpy(random(2, 4))
    torch.testing.assert_close(captured(x), x - x.mean(0, keepdim=True))
    (placeholder,) = captured.graph.find_nodes(op="placeholder")
    assert placeholder.meta["val"].shape[0] == 2


def test_open_sizes_need_an_example(tmp_path):
    text = "g (float[N, C] x) => (float[N, C] y) { y = Relu(x) }"
    loaded, _ = load(write(tmp_path, model(text)))
    with pytest.raises(InvalidInputError, match="'C'"):
        capture(loaded)
    assert capture(loaded, {"x": torch.ones(1, 3)})(torch.ones(5, 3)).shape == (5, 3)


def test_shapes_from_values_are_carried(tmp_path):
    text = """g (float[N, 4] x, int64[2] s) => (float[A, B] y) { y = Reshape(x, s) }"""
    loaded, _ = load(write(tmp_path, model(text)))
    network = capture(loaded, (torch.arange(8.0).reshape(2, 4), torch.tensor([4, 2])))
    assert [part_ops(part) for part in carried_nodes(network)] == ["Reshape"]
    found = network(torch.arange(12.0).reshape(3, 4), torch.tensor([2, 6]))
    assert torch.equal(found, torch.arange(12.0).reshape(2, 6))


def test_integer_inputs_take_integers_only(tmp_path):
    text = "g (int64[N, 4] ids) => (float[N, 4, 2] y) { y = Gather(table, ids) }"
    loaded, _ = load(write(tmp_path, model(text, table=random(3, 2))))
    (given,) = loaded.arrange((torch.tensor([[0, 1, 2, 1]], dtype=torch.int32),), {})
    assert given.dtype == torch.int64
    with pytest.raises(InvalidInputError, match=r"'ids' is torch\.float32.*takes torch\.int64"):
        loaded.arrange((torch.rand(1, 4),), {})


@pytest.mark.parametrize("kind", ["uint8", "int8", "int32"])
def test_an_input_that_is_an_index_has_a_row_in_its_table(kind, tmp_path):
    text = f"""g ({kind}[N, 40] ids) => (float[N, 40, 3] y) {{
        i = Cast <to = 7> (ids) e = Gather(table, i) y = MatMul(e, w) }}"""
    path = write(tmp_path, model(text, table=random(5, 4), w=random(4, 3)))
    loaded, _ = load(path)
    (ids,) = loaded.example()
    assert 0 <= ids.min() < ids.max() <= 4
    quantized = tersor.quantize(loaded)  # without data, every row is looked up
    assert vocabularies(quantized.network) == {"ids": 5}
    new = tmp_path / "int8.onnx"
    done = CliRunner().invoke(app, ["quantize", str(path), "-o", str(new), "--example", "3,40"])
    assert done.exit_code == 0, done.output


def test_names_that_the_exporter_also_makes_up(tmp_path):
    """A file that torch wrote has nodes and constants called `val_0`, `val_1`, and so on."""
    text = """g (int64[N, 4] val_2) => (float[N, 4, 2] y) {
        val_0 = Gather(val_3, val_2) val_1 = MatMul(val_0, val_4) y = Add(val_1, val_3) }"""
    weights = {"val_3": random(4, 2), "val_4": random(2, 2)}
    path = write(tmp_path, model(text, **weights))
    captured = capture(load(path)[0])
    export_onnx(captured, tmp_path / "again.onnx")
    x = {"val_2": np.array([[0, 3, 1, 2]])}
    ours, theirs = (
        ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, x)[0]
        for file in (tmp_path / "again.onnx", path)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_an_example_fits_the_range(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    export_onnx(capture(model, torch.randn(2, 3, 6, 6)), tmp_path / "a.onnx")
    loaded, _ = load(tmp_path / "a.onnx")
    (x,) = loaded.example((2.0, 3.0))
    assert x.shape == (2, 3, 6, 6)
    assert 2 <= x.min() < x.max() <= 3


@pytest.mark.parametrize("shape", [(1, 5), (1, 1, 5)])
@pytest.mark.parametrize("rows", ["N, 4", "4"])
def test_a_bias_with_more_axes_is_a_bias(tmp_path, shape, rows):
    text = f"g (float[{rows}] x) => (float y) {{ a = MatMul(x, w) y = Add(b, a) }}"
    made = model(text, w=random(4, 5), b=random(*shape))
    made.graph.output[0].type.tensor_type.ClearField("shape")
    path = write(tmp_path, made)
    file = read_model(path)
    assert [node.op for node in file.nodes] == ["tersor.Linear"]
    assert file.state_dict()["b"].shape == (5,)
    x = random(*([3] * rows.startswith("N")), 4)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = torch.from_numpy(np.asarray(session.run(None, {"x": x})[0]))
    torch.testing.assert_close(file(torch.from_numpy(x)), wanted)


def test_an_added_row_takes_one_bias(tmp_path):
    text = "g (float[N, 4] x) => (float[N, 5] y) { a = MatMul(x, w) y = Add(a, b) }"
    path = write(tmp_path, model(text, w=random(4, 5), b=random(1, 5)))
    x = torch.from_numpy(random(64, 4))
    q = tersor.quantize(path, x, data=x)
    written = q.export(tmp_path / "int8.onnx")
    nodes = onnx.load(tmp_path / "int8.onnx").graph.node
    assert [node.op_type for node in nodes].count("Add") == 1
    assert written.inputs == ("x",)
    session = ort.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(np.asarray(found)), q(x), rtol=0, atol=0.05)
