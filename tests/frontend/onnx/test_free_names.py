"""Names for new values of a graph."""

import time
from itertools import pairwise

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tersor.frontend.load import load
from tersor.frontend.onnx.free_names import FreeNames


def graph_of(names):
    stored = [ir.val(name, const_value=ir.tensor(np.ones(1), name=name)) for name in names]
    return ir.Graph([], [], nodes=[], initializers=stored)


@given(st.lists(st.sampled_from(["a", "a_2", "b"]), unique=True), st.lists(st.sampled_from("ab")))
def test_no_name_is_given_twice(there, wanted):
    names = FreeNames(graph_of(there))
    found = [names.take(name) for name in wanted]
    assert len({*there, *found}) == len(there) + len(found)
    for name in {*wanted} - {*there}:
        assert found[wanted.index(name)] == name


def test_the_name_of_a_value_that_is_removed_is_free():
    names = FreeNames(graph_of(["w"]))
    assert names.store(np.zeros(2), "w").name == "w_2"
    names.remove("w")
    assert names.store(np.zeros(3), "w").name == "w"
    assert set(names.graph.initializers) == {"w", "w_2"}


def chain(op, count, **options):
    values = ["x", *(f"v{i}" for i in range(1, count)), "y"]
    inputs = ["w"] if op == "FusedConv" else []
    return [helper.make_node(op, [a, *inputs], [b], **options) for a, b in pairwise(values)]


@pytest.mark.parametrize(
    ("nodes", "opset"),
    [
        (chain("FusedConv", 2000, domain="com.microsoft", activation="Relu"), 18),
        (chain("Reshape", 2000, shape=[0, 1, 4, 4]), 1),
        (chain("Affine", 2000, alpha=2.0, beta=1.0), 18),
    ],
    ids=["fused", "earliest opset", "forgotten"],
)
def test_many_nodes_that_are_replaced_take_little_time(nodes, opset, tmp_path):
    ends = [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", 1, 4, 4]) for x in "xy"]
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight] if opset > 1 else [])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9 if opset > 1 else 3)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    start = time.process_time()
    load(tmp_path / "a.onnx")
    assert time.process_time() - start < 4
