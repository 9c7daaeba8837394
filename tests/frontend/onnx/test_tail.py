"""Files that end in text, maps or sequences: the network in front goes in, all of it comes out."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import tersor
from tersor.cli import app
from tersor.errors import InvalidInputError, UnsupportedError
from tests.frontend.onnx.files import random, write

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
LABELS = ["cat", "dog", "cow"]
FLOATS = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 3])
TEXT = helper.make_tensor_type_proto(TensorProto.STRING, ["N"])
WHOLE = helper.make_tensor_type_proto(TensorProto.INT64, ["N"])
MAPS = helper.make_sequence_type_proto(
    helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, []))
)
NAMED = helper.make_sequence_type_proto(
    helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(1, []))
)
MANY = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
MAYBE = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
ML = "ai.onnx.ml"


def node(op, *args, domain="", **attributes):
    return helper.make_node(op, *args, domain=domain, name=f"{op}_", **attributes)


WORDS = {"keys_int64s": [0, 1, 2], "values_strings": LABELS}
ARG = node("ArgMax", ["p"], ["best"], axis=1, keepdims=0)
CASES = {
    "maps": ([node("ZipMap", ["p"], ["z"], domain=ML, classlabels_int64s=[2, 5, 7])], {"z": MAPS}),
    "maps of text": (
        [node("ZipMap", ["p"], ["z"], domain=ML, classlabels_strings=LABELS)],
        {"z": NAMED},
    ),
    "text beside numbers": (
        [ARG, node("ArrayFeatureExtractor", ["names", "best"], ["t"], domain=ML)],
        {"p": FLOATS, "t": helper.make_tensor_type_proto(TensorProto.STRING, [1, "N"])},
    ),
    "text alone": ([ARG, node("Gather", ["names", "best"], ["t"])], {"t": TEXT}),
    "labels and maps": (
        [
            ARG,
            node("LabelEncoder", ["best"], ["t"], domain=ML, **WORDS),
            node("ZipMap", ["p"], ["z"], domain=ML, classlabels_strings=LABELS),
        ],
        {"t": TEXT, "z": NAMED},
    ),
    "a sequence": ([node("SplitToSequence", ["p"], ["s"], axis=1)], {"s": MANY, "p": FLOATS}),
    "a choice": ([node("Optional", ["p"], ["o"])], {"o": MAYBE}),
    "text of numbers": ([node("Cast", ["p"], ["t"], to=TensorProto.STRING)], {"t": FLOATS}),
    "whole and true": (
        [ARG, node("Greater", ["p", "half"], ["sure"])],
        {"best": WHOLE, "sure": helper.make_tensor_type_proto(TensorProto.BOOL, ["N", 3])},
    ),
}
CASES["text of numbers"][1]["t"] = helper.make_tensor_type_proto(TensorProto.STRING, ["N", 3])
NOT_COMPARED = {"text alone": ["t"], "text of numbers": ["t"]}


def made(folder, name="maps", opset=17):
    """A classifier as scikit-learn's converter writes it, with one of the ends."""
    nodes, ends = CASES[name]
    stored = {"w": random(8, 16), "b": random(16), "v": random(16, 3), "half": np.float32(0.5)}
    stored["names"] = np.array(LABELS, dtype=object)
    layers = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Add", ["a", "b"], ["c"]),
        node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["e"]),
        node("Softmax", ["e"], ["p"], axis=1),
    ]
    used = {v for n in (*layers, *nodes) for v in n.input}
    graph = helper.make_graph(
        [*layers, *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_value_info(key, kind) for key, kind in ends.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items() if k in used],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(ML, 2)]
    return write(folder, helper.make_model(graph, opset_imports=opsets, ir_version=8))


def answers(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X.numpy()}), [(v.name, v.type) for v in session.get_outputs()]


def flat(value):
    """All numbers or words of an answer."""
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    return np.concatenate([np.ravel(flat(v)) for v in value]) if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
def test_it_comes_out_as_it_came_in_and_numbers_are_compared(name, tmp_path):
    path = made(tmp_path, name)
    result = tersor.quantize(tersor.load(path)[0], data=X)
    written = result.export(tmp_path / "int8.onnx")
    assert written.anew == ""
    before, after = onnx.load(path).graph, onnx.load(written.path).graph
    assert [str(v) for v in after.output] == [str(v) for v in before.output]
    assert {v.data_type for v in after.initializer if v.name in "wv"} == {TensorProto.INT8}
    (was, kinds), (found, others) = answers(path), answers(written.path)
    assert others == kinds
    for old, new in zip(map(flat, was), map(flat, found), strict=True):
        old, new = np.asarray(old), np.asarray(new)
        if old.dtype.kind in "fc":
            np.testing.assert_allclose(new, old, atol=0.1)
        elif name != "text of numbers":
            assert (old == new).mean() > 0.9
    seen = result.verify(written.path, X, latency=False)
    names = [value.name for value in after.output]
    assert seen.uncompared == tuple(n for n in names if n == "t")
    assert all(comparison.sqnr > 15 for comparison in seen.exported.values())
    assert any("nothing was compared" in doubt for doubt in seen.doubts) == (name in NOT_COMPARED)
    assert {*seen.quantized} == {*names} - {"t"}
    assert [what for what, _ in seen.rows()].count("not compared") == len(seen.uncompared)


def test_an_old_file_is_converted_with_its_tail(tmp_path):
    path = made(tmp_path, "labels and maps", opset=9)
    result = tersor.quantize(tersor.load(path)[0], data=X, activations=16)
    written = result.export(tmp_path / "int16.onnx")
    assert written.opset == 21
    (was, kinds), (found, others) = answers(path), answers(written.path)
    assert others == kinds
    assert (was[0] == found[0]).mean() > 0.9


def test_the_command_says_what_it_does_not_compare(tmp_path):
    path, out = made(tmp_path, "labels and maps"), tmp_path / "int8.onnx"
    np.save(tmp_path / "x.npy", X.numpy())
    given = ["quantize", str(path), "-o", str(out), "--data", str(tmp_path / "x.npy"), "--json"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["verification"]["uncompared"] == ["t"]
    done = CliRunner().invoke(app, ["verify", str(path), str(out), "--data", given[5]])
    assert "not compared" in done.output


def test_saved_results_keep_it(tmp_path):
    result = tersor.quantize(tersor.load(made(tmp_path, "labels and maps"))[0], data=X)
    first = result.export(tmp_path / "a.onnx").path.read_bytes()
    result.save(tmp_path / "q.tersor")
    again = tersor.load(tmp_path / "q.tersor")
    assert again.export(tmp_path / "b.onnx").path.read_bytes() == first


def test_what_is_refused(tmp_path):
    result = tersor.quantize(tersor.load(made(tmp_path))[0], data=X)
    with pytest.raises(InvalidInputError, match="leave input_names and output_names out"):
        result.export(tmp_path / "a.onnx", output_names=["other"])
    zipped = node("ZipMap", ["x"], ["z"], domain=ML, classlabels_int64s=[1, 2])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph([zipped], "g", [x], [helper.make_value_info("z", MAPS)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 2)]
    with pytest.raises(UnsupportedError, match=r"no layer is in front of .*ZipMap"):
        tersor.load(write(tmp_path, helper.make_model(graph, opset_imports=opsets)))
    kind = helper.make_tensor_type_proto(TensorProto.COMPLEX64, ["N", 2])
    graph = helper.make_graph(
        [node("Cast", ["x"], ["z"], to=TensorProto.COMPLEX64)],
        "g",
        [x],
        [helper.make_value_info("z", kind)],
    )
    with pytest.raises(UnsupportedError, match="complex numbers"):
        tersor.load(write(tmp_path, helper.make_model(graph, opset_imports=opsets)))
