"""Integers that no kernel computes with: onnxruntime makes floats of them when it loads a file."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import tersor
from tersor.export.kernels import kernels, optimized_nodes
from tersor.export.onnx import writer
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.quant.schemes import ONNXRUNTIME_CPU

FLOATS = replace(ONNXRUNTIME_CPU, kernels=frozenset())


class Turned(nn.Module):
    """Rows of a table, turned, as a convolution wants them."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.conv = nn.Conv1d(16, 24, 3, padding=1)

    def forward(self, tokens):
        return self.conv(self.table(tokens).transpose(1, 2))


class Rows(nn.Module):
    """Looked-up rows are an output."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(50, 16), nn.Linear(16, 24)

    def forward(self, tokens):
        rows = self.table(tokens)
        return rows, self.head(rows)


class Tied(nn.Module):
    """One layer at two places, the second time with a quantized neighbour."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x).relu())


def image(channels):
    return torch.rand(2, channels, 8, 8)


NETS = {
    "conv": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU()), image(3)),
    "BatchNorm": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)), image(3)),
    "grouped": (lambda: nn.Conv2d(16, 16, 3, groups=4), image(16)),
    "depthwise": (lambda: nn.Conv2d(16, 16, 5, padding=2, groups=16, bias=False), image(16)),
    "transposed": (lambda: nn.ConvTranspose2d(8, 12, 3, stride=2), image(8)),
    "transposed, grouped": (lambda: nn.ConvTranspose2d(16, 16, 3, groups=4), image(16)),
    "one dimension": (lambda: nn.Conv1d(8, 24, 3), torch.rand(2, 8, 9)),
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16)), torch.rand(2, 4, 16)),
    "linear, three axes": (lambda: nn.Linear(16, 24, bias=False), torch.rand(2, 4, 16)),
    "tied": (Tied, image(16)),
}


def with_statistics(model):
    """Norms that do something."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 2)
            part.running_mean.uniform_(-1, 1)
    return model.eval()


def from_file(model, x, folder):
    """The model as a float file that came in."""
    path = export_onnx(capture(model, x), folder / "float.onnx").path
    return tersor.load(path)[0]


@pytest.mark.parametrize("is_file", [True, False], ids=["edited", "anew"])
@pytest.mark.parametrize("name", NETS)
def test_the_file_has_integers_and_the_runtime_floats(name, is_file, tmp_path):
    torch.manual_seed(0)
    make, x = NETS[name]
    model = with_statistics(make())
    model = from_file(model, x, tmp_path) if is_file else model
    q = tersor.quantize(model, x, scheme=FLOATS)
    result = q.export(tmp_path / "int8.onnx")
    assert not result.anew
    assert [(s.container, s.bits, s.share) for s in result.weights] == [("INT8", 8, 1.0)]
    checked = q.verify(result.path, x, latency=False)
    assert min(c.sqnr for c in (*checked.exported.values(), *checked.runtime.values())) > 100
    assert 25 < min(c.sqnr for c in checked.quantized.values()) < 70  # 8 bits
    assert {kernel.reason for kernel in kernels(result.path)} <= {
        "it computes in float; its weights are stored as integers",
        "onnxruntime has no integer kernel for transposed convolutions; "
        "its weights are stored as integers",
    }
    left = {node.op_type for node in optimized_nodes(result.path, ())}
    assert not left & {"Cast", "Mul", "DequantizeLinear", "QuantizeLinear"}


@pytest.mark.parametrize("is_file", [True, False], ids=["edited", "anew"])
def test_looked_up_rows_are_not_quantized_once_more(is_file, tmp_path):
    torch.manual_seed(0)
    model, tokens = Turned(), torch.arange(12).reshape(2, 6)
    model = from_file(model, tokens, tmp_path) if is_file else model
    q = tersor.quantize(model, tokens, scheme=FLOATS)
    path = q.export(tmp_path / "int8.onnx").path
    assert min(c.sqnr for c in q.verify(path, tokens, latency=False).runtime.values()) > 100
    kinds = {v.name: v.data_type for v in onnx.load(path).graph.initializer if "table" in v.name}
    assert onnx.TensorProto.INT8 in kinds.values()
    left = {node.op_type for node in optimized_nodes(path, ())}
    assert not left & {"QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize("is_file", [True, False], ids=["edited", "anew"])
def test_looked_up_rows_that_are_an_output_keep_its_name(is_file, tmp_path):
    torch.manual_seed(0)
    model, tokens = Rows(), torch.arange(12).reshape(2, 6)
    model = from_file(model, tokens, tmp_path) if is_file else model
    q = tersor.quantize(model, tokens, scheme=FLOATS)
    result = q.export(tmp_path / "int8.onnx", output_names=["rows", "scores"])
    assert result.outputs == ("rows", "scores")
    assert min(c.sqnr for c in q.verify(result.path, latency=False).runtime.values()) > 100


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_integers_inside_the_file_and_beside_it(where, tmp_path, monkeypatch):
    torch.manual_seed(0)
    if where == "beside":
        monkeypatch.setattr(writer, "LARGEST_FILE", 100)
    q = tersor.quantize(nn.Sequential(nn.Conv2d(3, 16, 3)), image(3), scheme=FLOATS)
    path = q.export(tmp_path / "int8.onnx").path
    assert bool(list(tmp_path.glob("int8.onnx.*.data"))) == (where == "beside")
    checked = q.verify(path, latency=False)
    assert min(c.sqnr for c in (*checked.exported.values(), *checked.runtime.values())) > 100


def test_every_weight_is_the_nearest_number_of_its_channel(tmp_path):
    torch.manual_seed(0)
    model = nn.Conv2d(3, 16, 3)
    q = tersor.quantize(nn.Sequential(model), image(3), scheme=FLOATS)
    path = q.export(tmp_path / "int8.onnx").path
    values = {v.name: numpy_helper.to_array(v) for v in onnx.load(path).graph.initializer}
    integers, scale = values["0.weight"], values["0.weight_scale"]
    assert (integers.dtype, scale.shape) == (np.int8, (16, 1, 1, 1))
    error = np.abs(integers * scale - model.weight.detach().numpy())
    assert (error <= 0.5001 * scale).all()
    assert torch.equal(
        tersor.load(path, dequantize=True)[0].state_dict()["0.weight"],
        torch.from_numpy(integers * scale),
    )
