"""`If` nodes with a known condition disappear, and inputs can be fixed."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from typer.testing import CliRunner

import tersor
from tersor.cli import app
from tersor.errors import InvalidInputError, UnsupportedError
from tersor.frontend.capture import capture
from tersor.frontend.onnx.fixed_inputs import write_fixed
from tersor.graph.network import Applied
from tests import nets
from tests.frontend.onnx.files import RATE, model, random, write

SIZES = model(
    """g (float[N, L, 4] x) => (float[N, A] y) {
        a = MatMul(x, w) h = Relu(a) s = Shape(h) n = Constant <value = int64 {1}> ()
        size = Gather(s, n) c = Equal(size, n) i = Cast <to = 9> (c)
        z = If (i) <
            then_branch = t () => (float[B, C] p)
                { o = Constant <value_ints = [1]> () p = Squeeze(h, o) },
            else_branch = e () => (float[B, C] q)
                { q = ReduceMean <axes = [1], keepdims = 0> (h) } >
        r = Shape(z) k = Size(r) two = Constant <value = int64 {2}> () f = Equal(k, two)
        y = If (f) <
            then_branch = t2 () => (float[N, A] p) { p = MatMul(z, v) },
            else_branch = e2 () => (float[N, A] q) { q = Identity(z) } > }""",
    w=random(4, 6),
    v=random(6, 3, seed=1),
)


def run(file, **inputs):
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_fixed_input_folds_the_branches_that_depend_on_it(rate, tmp_path):
    file, x = write(tmp_path, RATE), random(9, 4, seed=2)
    loaded, _ = tersor.load(file, fix={"sr": rate})
    network = capture(loaded)
    assert network.input_names == ("x",)
    wanted = run(file, x=x, sr=np.array(rate))
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach(), wanted, rtol=1e-5, atol=1e-6)
    assert "carried" not in str(network.graph)
    assert network.records == [
        Applied("sr", "fix", f"it has the value {rate} and is no input of the new file")
    ]
    assert network.origin is not None
    assert {node.op_type for node in network.origin.model.graph} <= {
        "MatMul",
        "Relu",
        "Neg",
        "Identity",
    }
    written = tersor.quantize(network, data=torch.from_numpy(x)).export(tmp_path / "int8.onnx").path
    found = run(written, x=x)
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_an_open_branch_is_carried(tmp_path):
    file, x = write(tmp_path, RATE), random(9, 4, seed=2)
    network = capture(tersor.load(file)[0], (torch.from_numpy(x), torch.tensor(16000)))
    assert "carried" in str(network.graph)
    for rate in (16000, 8000):
        found = network(torch.from_numpy(x), torch.tensor(rate)).detach()
        np.testing.assert_allclose(found, run(file, x=x, sr=np.array(rate)), rtol=1e-5, atol=1e-6)


def test_a_file_that_is_one_branch_says_how_to_go_on(tmp_path):
    made = model(
        """g (float[N, 4] x, int64 sr) => (float[N, 3] y) {
            rate = Constant <value = int64 {16000}> () c = Equal(sr, rate)
            y = If (c) <
                then_branch = t () => (float[N, 3] p) { p = MatMul(x, w) },
                else_branch = e () => (float[N, 3] q) { s = MatMul(x, w) q = Neg(s) } > }""",
        w=random(4, 3),
    )
    loaded, _ = tersor.load(write(tmp_path, made))
    with pytest.raises(UnsupportedError, match=r"inside the If node 'y'.*--fix sr=16000"):
        tersor.quantize(loaded, (torch.ones(2, 4), torch.tensor(16000)))


@pytest.mark.parametrize("length", [1, 5])
def test_branches_by_size_are_those_of_the_example(length, tmp_path):
    file, x = write(tmp_path, SIZES), random(9, length, 4, seed=2)
    network = capture(tersor.load(file)[0], torch.from_numpy(x))
    assert "carried" not in str(network.graph)
    found = network(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(found, run(file, x=x), rtol=1e-5, atol=1e-6)
    assert [record.layer for record in network.records] == ["z"]  # y: by rank


def test_an_axis_that_decides_on_a_branch_is_fixed_in_the_file(tmp_path):
    made = model(
        """g (float[N, L, 4] x) => (float[N, L, 3] y) {
            h = MatMul(x, w) s = Shape(h) n = Constant <value = int64 {1}> () size = Gather(s, n)
            five = Constant <value = int64 {5}> () c = Equal(size, five)
            z = If (c) <
                then_branch = t () => (float[N, L, 6] p) { p = Identity(h) },
                else_branch = e () => (float[N, L, 6] q) { q = Neg(h) } >
            y = MatMul(z, v) }""",
        w=random(4, 6),
        v=random(6, 3, seed=1),
    )
    file, new = write(tmp_path, made), tmp_path / "int8.onnx"
    for length, wanted in ((5, ["N", 5, 4]), (7, ["N", "L", 4])):
        quantized = tersor.quantize(
            tersor.load(file)[0], data=torch.from_numpy(random(9, length, 4))
        )
        shape = onnx.load(quantized.export(new).path).graph.input[0].type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in shape] == wanted
        x = random(3, length, 4)
        assert np.abs(run(new, x=x) - run(file, x=x)).max() < 0.05 * np.abs(run(file, x=x)).max()
    assert [dim.dim_param for dim in made.graph.input[0].type.tensor_type.shape.dim] == [
        "N",
        "L",
        "",
    ]


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ({"rate": 1}, "gives a value to 'rate', but the inputs are 'x', 'sr'"),
        ({"sr": 0.5}, "'sr' takes INT64, so it cannot be 0.5"),
        ({"sr": [1, 2]}, r"has shape \[\]; the value given to fix it has shape \[2\]"),
        ({"sr": 1, "x": [[0.0] * 4]}, "leave at least one of them out"),
    ],
)
def test_what_cannot_be_fixed(fix, message, tmp_path):
    with pytest.raises(InvalidInputError, match=message):
        tersor.load(write(tmp_path, RATE), fix=fix)


def test_the_command_line_fixes_inputs(tmp_path):
    file, new = write(tmp_path, RATE), tmp_path / "int8.onnx"
    done = CliRunner().invoke(app, ["quantize", str(file), "-o", str(new), "--fix", "sr=16000"])
    assert done.exit_code == 0, done.output
    assert [value.name for value in onnx.load(new).graph.input] == ["x"]
    refused = CliRunner().invoke(app, ["quantize", str(file), "-o", str(new), "--fix", "sr"])
    assert "gives no value to an input" in " ".join(refused.output.split())


def test_verification_fixes_inputs_of_the_float_file(tmp_path):
    file, new = write(tmp_path, RATE), tmp_path / "int8.onnx"
    tersor.quantize(tersor.load(file, fix={"sr": 16000})[0]).export(new)
    found = {}
    for rate in (16000, 8000):
        command = ["verify", str(file), str(new), "--fix", f"sr={rate}", "--json"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        found[rate] = json.loads(done.stdout)["quantized"]["y"]["sqnr_db"]
    assert found[16000] > 20
    assert found[8000] < 0  # the other branch negates
    with pytest.raises(InvalidInputError, match=r"inputs of an \.onnx file"):
        tersor.verify(nets.plain(), new, fix={"sr": 16000})


def test_a_fixed_copy_has_its_weights_beside_it(tmp_path):
    folder, x = tmp_path / "copy", random(9, 4, seed=2)
    folder.mkdir()
    made = onnx.ModelProto.FromString(RATE.SerializeToString())  # saving changes it
    beside = {"save_as_external_data": True, "location": "a.bin", "size_threshold": 0}
    onnx.save(made, tmp_path / "a.onnx", **beside)
    write_fixed(tmp_path / "a.onnx", {"sr": 8000}, folder / "b.onnx")
    wanted = run(tmp_path / "a.onnx", x=x, sr=np.array(8000))
    assert (run(folder / "b.onnx", x=x) == wanted).all()
