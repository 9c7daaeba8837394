"""A file that is larger or slower than its float file says so, with the reason."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tersor.export.drawbacks import contents, drawbacks
from tersor.export.sessions.latency import Latency

SLOW = Latency(float_ms=1.0, ratio=2.0, rounds=1)
FAST = Latency(float_ms=2.0, ratio=0.5, rounds=1)


def write(path, nodes, stored):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    stored = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.fixture
def float_file(tmp_path):
    nodes = [helper.make_node("Add", ["x", "w"], ["a"]), helper.make_node("Erf", ["a"], ["y"])]
    return write(tmp_path / "float.onnx", nodes, {"w": np.ones(4, np.float32)})


@pytest.fixture
def integer_file(tmp_path):
    """Quantizers around a function without integer kernel, and a table of indices."""
    scale, zero = np.array(0.1, np.float32), np.array(128, np.uint8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Gather", ["d", "i"], ["g"]),
        helper.make_node("Erf", ["g"], ["y"]),
    ]
    stored = {"s": scale, "z": zero, "i": np.arange(4)}
    return write(tmp_path / "int8.onnx", nodes, stored)


def test_a_file_that_is_as_good_is_not_blamed(float_file):
    assert drawbacks(float_file, float_file, FAST) == []


def test_a_larger_file_names_what_has_grown(float_file, integer_file):
    (said,) = drawbacks(float_file, integer_file, FAST)
    before, after = float_file.stat().st_size, integer_file.stat().st_size
    assert f"{before:,} → {after:,} bytes" in said
    assert "nodes, names and quantizers" in said


def test_a_slower_file_counts_conversions_and_names_the_ops_between_them(float_file, integer_file):
    said = drawbacks(float_file, integer_file, SLOW)[-1]
    assert "0.50 times as fast" in said
    assert "conversions" in said
    assert "Erf" in said or "Gather" in said


def test_every_byte_is_counted_once(integer_file):
    found = contents(integer_file)
    assert (found.floats, found.integers, found.indices) == (4, 1, 32)
    assert found.floats + found.integers + found.indices + found.nodes == (
        integer_file.stat().st_size
    )
