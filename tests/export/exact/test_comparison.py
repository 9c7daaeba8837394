"""Whole networks: every bit is the runtime's own, and a kernel that computes others is found."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import tersor
from tersor.errors import InvalidInputError
from tersor.export.proof.arithmetic import Arithmetic
from tersor.export.proof.exact import simulation
from tersor.export.proof.exact.comparison import prove
from tersor.export.proof.exact.in_runtime import Alone, reads
from tests.export.exact.nodes import on_x86

pytestmark = on_x86


class Mixed(nn.Module):
    """One of each: plain, strided and depthwise layers, a sum, a concatenation, means, a table."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(16, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image).relu()
        y = self.point(self.depthwise(x).relu())
        x = torch.cat([x + y, torch.sigmoid(y)], 1)
        x = nn.functional.avg_pool2d(self.grouped(x), 3, 2, 1)
        return self.head(x.mean((2, 3)))


class Attending(nn.Module):
    """A transformer's layer, whose softmax and LayerNorm stay in float."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def images(count=40):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    torch.manual_seed(0)
    quantized = tersor.quantize(Mixed().eval(), images(2), data=images(), tolerance=None)
    path = tmp_path_factory.mktemp("exact") / "mixed.int8.onnx"
    quantized.export(path)
    return quantized, path


def test_every_bit_is_the_runtimes(mixed):
    _, path = mixed
    found = prove(simulation.ExactSimulation(path), [images(70)])
    assert found.is_equal
    assert found.samples == 70
    kernels = {"QLinearConv", "QLinearAdd", "QLinearConcat", "QLinearSigmoid", "QGemm"}
    assert set(found.computed.values()) >= kernels | {"QLinearAveragePool"}
    assert not found.unknown
    assert {"stem", "depthwise", "head"} <= set(found.computed)


def test_layers_in_float_are_the_runtimes_own(tmp_path):
    torch.manual_seed(1)
    x = torch.randn(6, 5, 8)
    tersor.quantize(Attending().eval(), x[:2], data=x).export(tmp_path / "a.onnx")
    found = prove(simulation.ExactSimulation(tmp_path / "a.onnx"), [x])
    assert found.is_equal
    assert found.others > 0
    assert "MatMulIntegerToFloat" in found.computed.values()


def test_a_kernel_that_computes_something_else_is_found(mixed, monkeypatch):
    _, path = mixed
    right = simulation.KNOWN["QLinearAdd"]

    def other(call):
        found = right(call).copy()
        found[:, 0] ^= np.uint8(8)
        return found

    monkeypatch.setitem(simulation.KNOWN, "QLinearAdd", other)
    found = prove(simulation.ExactSimulation(path), [images(4)])
    (parting,) = found.partings
    assert not found.is_equal
    assert parting.op == "QLinearAdd"
    assert parting.largest == 8
    assert parting.share == pytest.approx(1 / 8)
    assert parting.layer in dict(found.rows())["fault"]


def test_kernels_that_are_not_known_are_named_and_run_by_the_runtime(mixed, monkeypatch):
    _, path = mixed
    monkeypatch.delitem(simulation.KNOWN, "QGemm")
    found = prove(simulation.ExactSimulation(path), [images(4)])
    assert found.is_equal
    assert found.unknown == {"head": "QGemm"}
    rows = dict(found.rows())
    assert "head (QGemm)" in rows["not known exactly"]
    assert "apart from the kernels that are not known" in rows["rounding or fault"]


def test_nothing_is_said_of_a_file_without_known_kernels():
    assert "rounding or fault" not in dict(Arithmetic({}, 4, {}, {"a": "LSTM"}, 3, {}).rows())


def test_verify_shows_it(mixed):
    quantized, path = mixed
    batches = (
        (batch, torch.zeros(30, dtype=torch.long)) for batch in images(90).split(30)
    )  # labels, too, and only once
    found = quantized.verify(path, batches, exact=True, latency=False)
    assert found.samples == 90
    assert found.arithmetic.samples == 64
    assert found.arithmetic.is_equal
    assert "rounding" in dict(found.rows())["rounding or fault"]
    plain = json.loads(json.dumps(found.as_dict()))["exact"]
    assert plain["is_equal"]
    assert plain["outputs"]["output"]["sqnr_db"] == 200
    assert plain["computed"]["head"] == "QGemm"


def test_without_it_nothing_is_said(mixed):
    quantized, path = mixed
    found = quantized.verify(path, images(2), latency=False)
    assert found.arithmetic is None
    assert found.as_dict()["exact"] is None


def test_other_runtimes_are_refused(mixed):
    quantized, path = mixed
    with pytest.raises(InvalidInputError, match=r"runs in openvino; leave it out"):
        quantized.verify(path, images(2), runtime="openvino", exact=True)


def test_other_processors_are_refused(mixed, monkeypatch):
    quantized, path = mixed
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(InvalidInputError, match="this one is aarch64; leave it out"):
        quantized.verify(path, images(2), exact=True)


def test_saturation_is_a_fault_even_if_every_bit_is_the_same():
    known = {"a": "QLinearConv"}
    found = dict(Arithmetic({}, 4, known, {}, 0, {"a": 0.25}).rows())
    assert found["fault: sums saturate"] == "a (25 % of its sums)"
    assert "rounding or fault" not in found


def test_a_node_reads_and_writes_sequences(tmp_path):
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["s"], axis=0, keepdims=1),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=1),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    ends[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    graph = helper.make_graph(nodes, "sequences", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "a.onnx")
    found = prove(
        simulation.ExactSimulation(tmp_path / "a.onnx"), [torch.arange(6.0).reshape(2, 3)]
    )
    assert found.is_equal
    assert found.others == 2


def test_a_node_with_branches_reads_what_its_branches_read():
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branches = [
        helper.make_graph([helper.make_node(op, ["x", "z"], ["y"])], op, [], [value])
        for op in ("Add", "Mul")
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    assert reads(node) == ["c", "x", "z"]
    model = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 21)])
    z = onnx.numpy_helper.from_array(np.float32(3), "z")
    alone = Alone(node, model, {"z": z})
    assert alone.inputs == ("c", "x")
    (found,) = alone({"c": np.array(False), "x": np.float32([2])})
    assert found.tolist() == [6]
