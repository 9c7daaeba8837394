"""Stored sizes cannot make a small file take any amount of memory or time when it runs."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tersor.errors import TersorError
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.frontend.run_budget import RunBudget

SMALL = 1 << 20


def written(path, *nodes, **stored):
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 4])]
    found = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    values = [numpy_helper.from_array(np.asarray(x), name) for name, x in stored.items()]
    graph = helper.make_graph(list(nodes), "g", given, found, values)
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    )
    return load(path)[0]


BOMBS = {
    "Tile": ([helper.make_node("Tile", ["x", "n"], ["y"])], {"n": [1, 1, 2**13, 2**13]}),
    "Pad": ([helper.make_node("Pad", ["x", "n"], ["y"])], {"n": [0, 0, 0, 0, 0, 0, 0, 2**27]}),
    "Pad, reflected": (
        [helper.make_node("Pad", ["x", "n"], ["y"], mode="reflect")],
        {"n": [0, 0, 0, 0, 0, 0, 0, 2**27]},
    ),
    "Expand": (
        [helper.make_node("Expand", ["x", "n"], ["e"]), helper.make_node("Relu", ["e"], ["y"])],
        {"n": [2**24, 1, 1, 4, 4]},
    ),
    "Resize": (
        [helper.make_node("Resize", ["x", "", "n"], ["y"], mode="cubic")],
        {"n": np.array([1, 1, 1, 2**23], np.float32)},
    ),
    "Conv": (
        [helper.make_node("Conv", ["x", "n"], ["y"], pads=[2**13] * 4)],
        {"n": np.ones((1, 1, 2, 2), np.float32)},
    ),
    "ConvTranspose": (
        [helper.make_node("ConvTranspose", ["x", "n"], ["y"], strides=[2**12] * 2)],
        {"n": np.ones((1, 1, 2, 2), np.float32)},
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_that_asks_for_much_is_refused_before_it_is_computed(kind, tmp_path):
    nodes, stored = BOMBS[kind]
    model = written(tmp_path / "a.onnx", *nodes, **stored)
    with pytest.raises(TersorError, match=r"node '[ey]'.*(too much memory|too many|too long)"):
        capture(model)


def test_a_program_that_asks_for_much_is_refused(tmp_path):
    class Repeats(torch.nn.Module):
        def forward(self, x):
            return x.repeat(1, 2**26)

    program = torch.export.export(Repeats(), (torch.ones(2, 3),))
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.repeat.default:
            node.args = node.args[0], [1, 2**27]
    torch.export.save(program, tmp_path / "a.pt2")
    with pytest.raises(TersorError, match=r"too much memory.*look at the sizes that it stores$"):
        capture(load(tmp_path / "a.pt2")[0])


def test_memory_is_counted_as_long_as_a_value_is_there():
    budget = RunBudget(0, 0)
    before = budget.bytes
    with budget:
        value = torch.ones(SMALL)
        part = value.reshape(2, -1)[0]  # is the same memory
        assert before - budget.bytes == 4 * SMALL
        del value
        assert before - budget.bytes == 4 * SMALL
        del part
    assert budget.bytes == before


def test_work_is_counted_and_nothing_is_computed_once_it_is_too_much():
    budget = RunBudget(0, 0)
    weight = torch.ones(64, 64)
    budget.work = 2**20  # two products of such matrices
    with budget:
        torch.mm(weight, weight)
        with pytest.raises(TersorError, match=r"the program computes \[64, 64\].*much time"):
            torch.mm(weight, weight)
    with budget, pytest.raises(TersorError, match="much time"):
        torch.ones(1)


def test_inputs_and_weights_of_a_network_leave_room():
    small, large = RunBudget(0, 0), RunBudget(1 << 20, 1 << 20)
    assert large.bytes - small.bytes == 64 << 21
    assert large.work > small.work
