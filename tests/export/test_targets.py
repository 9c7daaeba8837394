"""The files of each scheme have the structure that its runtime asks for.

TensorRT and ARM cannot be run here; OpenVINO can, if it is installed.
"""

from functools import cache

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from tersor.api.quantize import quantize
from tersor.errors import InvalidInputError
from tersor.export.sessions import openvino
from tersor.results.quantized import Quantized
from tests.nets import images

needs_openvino = pytest.mark.skipif(not openvino.is_installed(), reason="needs OpenVINO")


class Residual(nn.Module):
    """A residual join, a transposed convolution and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.body(x) + x)
        return self.head(F.relu(self.up(x)).mean((2, 3)))


@cache
def _quantized(scheme: str) -> Quantized:
    torch.manual_seed(0)
    model = Residual().eval()
    with torch.no_grad():  # every pair of products of the full weight range saturates
        model.body.weight.abs_()
    return quantize(model, images(), scheme=scheme)


class File:
    """An exported file, with its nodes by output and its stored tensors by name."""

    def __init__(self, scheme: str, folder) -> None:
        path = _quantized(scheme).export(folder / f"{scheme}.onnx").path
        graph = onnx.load(path).graph
        self.path = path
        self.nodes = {node.name: node for node in graph.node}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}

    def producer(self, layer: str, position: int) -> str:
        """The type of the node that computes an input of a layer; "" if it is stored."""
        node = self.producers.get(self.nodes[layer].input[position])
        return "" if node is None else node.op_type

    def of_type(self, op_type: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes.values() if node.op_type == op_type]


def test_tensorrt_is_symmetric_with_float_biases(tmp_path):
    file = File("tensorrt", tmp_path)
    zero_points = [v for name, v in file.stored.items() if name.endswith("_zero_point")]
    assert zero_points
    assert all(v.dtype == np.int8 and not v.any() for v in zero_points)
    assert not any(v.dtype == np.int32 for v in file.stored.values())
    for layer in ("stem", "body", "up", "head"):
        assert file.producer(layer, 0) == "DequantizeLinear"
        assert file.producer(layer, 1) == "DequantizeLinear"
        assert file.stored[f"{layer}.weight"].dtype == np.int8
        assert file.stored[f"{layer}.weight_scale"].shape == (file.stored[f"{layer}.bias"].size,)
        assert file.stored[f"{layer}.bias"].dtype == np.float32


@pytest.mark.parametrize("scheme", ["tensorrt", "openvino-cpu"])
def test_a_residual_is_rounded_and_the_layer_it_is_added_to_is_not(scheme, tmp_path):
    file = File(scheme, tmp_path)
    (add,) = file.of_type("Add")
    assert {file.producers[name].op_type for name in add.input} == {"Conv", "DequantizeLinear"}
    assert not file.of_type("Clip")  # a ReLU stays where these runtimes look for it
    for write in file.of_type("QuantizeLinear"):
        before = file.producers.get(write.input[0])
        assert before is None or before.op_type not in ("Conv", "Gemm", "ConvTranspose")


def test_arm_uses_the_full_range(tmp_path):
    arm, safe = File("arm-dotprod", tmp_path), File("onnxruntime-cpu", tmp_path)
    for layer in ("stem", "body", "head"):
        rows = arm.stored[f"{layer}.weight"].reshape(-1, arm.stored[f"{layer}.weight_scale"].size)
        assert np.abs(rows.astype(int)).max() in (127, 128)
        assert arm.stored[f"{layer}.bias"].dtype == np.int32
    assert np.abs(safe.stored["body.weight"].astype(int)).max() < 127


def test_transposed_convolutions_compute_in_float_where_no_kernel_exists(tmp_path):
    folded, floating = File("onnxruntime-cpu", tmp_path), File("openvino-cpu", tmp_path)
    assert folded.stored["up.weight"].dtype == np.int8
    assert folded.producer("up", 1) == "Mul"  # onnxruntime computes it when it loads the file
    assert floating.stored["up.weight"].dtype == np.float32


@pytest.mark.parametrize("scheme", ["tensorrt", "arm-dotprod"])
def test_the_file_computes_the_simulation(scheme, tmp_path):
    quantized = _quantized(scheme)
    result = quantized.verify(File(scheme, tmp_path).path, images(4), latency=False)
    assert result.runtime_name == "onnxruntime"
    assert all(comparison.sqnr > 35 for comparison in result.exported.values())


@needs_openvino
def test_openvino_computes_the_simulation(tmp_path):
    quantized, path = _quantized("openvino-cpu"), File("openvino-cpu", tmp_path).path
    result = quantized.verify(path, images(16), latency=False)
    assert result.runtime_name == "openvino"
    assert result.sqnr > 35
    assert {k.layer for k in result.kernels if k.is_integer} == {"stem", "body", "head"}


def test_without_openvino_the_file_is_verified_in_onnxruntime(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino, "is_installed", lambda: False)
    quantized, path = _quantized("openvino-cpu"), File("openvino-cpu", tmp_path).path
    assert quantized.verify(path, images(2), latency=False).runtime_name == "onnxruntime"
    with pytest.raises(InvalidInputError, match=r"pip install 'tersor\[openvino\]"):
        quantized.verify(path, images(2), runtime="openvino")


def test_an_unknown_runtime():
    with pytest.raises(InvalidInputError, match=r"'tvm' is not .* 'executorch', 'pytorch' or"):
        _quantized("openvino-cpu").verify("missing.onnx", images(2), runtime="tvm")
