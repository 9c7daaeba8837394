"""What no sound file has, as found by fuzzing: each is told, at once."""

import time

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tersor.errors import InvalidInputError, InvalidModelError
from tersor.frontend.capture import capture
from tersor.frontend.load import load

AXES = 1_000_000  # numbers where one for each axis is asked for


def saved(path, nodes, *stored, kind=TensorProto.FLOAT, shape=("N", 3)):
    """A file in which `nodes` make `c` of stored values, and `y` is x + c."""
    ends = [
        helper.make_tensor_value_info("x", kind, shape),
        helper.make_tensor_value_info("y", kind, None),
    ]
    last = helper.make_node("Add", ["x", "c"], ["y"])
    graph = helper.make_graph([*nodes, last], "g", ends[:1], ends[1:], list(stored))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(made.SerializeToString())
    return path


def numbers(name, count=AXES):
    return numpy_helper.from_array(np.ones(count, np.int64), name)


ONE = numpy_helper.from_array(np.ones(1, np.float32), "w")


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("ConstantOfShape", ["s"]),
        *((op, ["w", "s"]) for op in ("Reshape", "Expand", "Tile", "Unsqueeze", "Pad")),
        *((op, ["w", "s"]) for op in ("Squeeze", "ReduceSum", "Slice")),
    ],
)
def test_more_axes_than_there_are(op, inputs, tmp_path):
    inputs = [*inputs, "s"] if op == "Slice" else inputs
    path = saved(tmp_path / "a.onnx", [helper.make_node(op, inputs, ["c"])], numbers("s"), ONE)
    start = time.process_time()
    with pytest.raises(InvalidModelError, match=rf"'c' \({op}\) .* 1,000,000 numbers"):
        load(path)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("op", ["Mul", "Identity", "Relu", "Concat"])
def test_a_node_without_its_first_input(op, tmp_path):
    settings = {"axis": 0} if op == "Concat" else {}
    nodes = [helper.make_node(op, [""], ["c"], **settings)]
    with pytest.raises(InvalidModelError, match=rf"'c' \({op}\)"):
        load(saved(tmp_path / "a.onnx", nodes))


def test_a_stored_value_with_a_negative_size(tmp_path):
    stored = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    stored.dims[0] = -(2**63)
    path = saved(tmp_path / "a.onnx", [helper.make_node("Identity", ["w"], ["c"])], stored)
    with pytest.raises(InvalidModelError, match=r"'w' has shape \[-9223372036854775808\]"):
        load(path)


def test_a_sequence_of_too_many_parts_stays(tmp_path):
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["q"], axis=0),
        helper.make_node("ConcatFromSequence", ["q"], ["c"], axis=0),
    ]
    start = time.process_time()
    load(saved(tmp_path / "a.onnx", nodes, shape=(2**31 - 1, 3)))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("kind", ["UINT16", "UINT32", "UINT64", "BOOL"])
def test_a_fixed_batch_of_integers_without_a_sign_is_freed(kind, tmp_path):
    nodes = [helper.make_node("Identity", ["w"], ["v"])]
    nodes += [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "v"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info("x", getattr(TensorProto, kind), (1, 3)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [ONE])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "a.onnx"
    path.write_bytes(made.SerializeToString())
    model, _ = load(path)
    assert capture(model, None).args[0].shape[0] > 1


@pytest.mark.parametrize("shape", [(2, 4, 2**62, 0), (0, 2**40), (2, 2**40)])
def test_an_input_of_impossible_sizes_has_no_example(shape, tmp_path):
    """A size of 0 does not make the others harmless: memory is counted without it."""
    path = saved(
        tmp_path / "a.onnx", [helper.make_node("Identity", ["w"], ["c"])], ONE, shape=shape
    )
    model, _ = load(path)
    with pytest.raises(InvalidInputError, match="too large for an example"):
        model.example(None)
