"""Recurrent layers of PyTorch: their weights are stored in 8 bits, and the layers are counted."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import tersor
from tersor.core.metrics import sqnr
from tersor.export.kernels import optimized_nodes
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.names import SchemeName
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import find_scheme
from tests.frontend.onnx.files import model, random, write

KINDS = {
    "LSTM": lambda: nn.LSTM(6, 16),
    "two directions": lambda: nn.LSTM(6, 16, bidirectional=True),
    "two layers": lambda: nn.LSTM(6, 16, num_layers=2, batch_first=True),
    "no bias": lambda: nn.LSTM(6, 16, bias=False),
    "GRU": lambda: nn.GRU(6, 16, batch_first=True),
    "GRU, two directions, two layers": lambda: nn.GRU(6, 16, num_layers=2, bidirectional=True),
    "RNN": lambda: nn.RNN(6, 16, bidirectional=True),
    "RNN, two layers": lambda: nn.RNN(6, 16, num_layers=2, bias=False, batch_first=True),
    "RNN, ReLU": lambda: nn.RNN(6, 16, nonlinearity="relu"),
}


class Tagger(nn.Module):
    """A recurrent layer between two linear ones; the axis that it may not have is the batch."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first = nn.Linear(5, 6)
        self.rnn = KINDS[kind]()
        self.last = nn.Linear(16 * (2 if self.rnn.bidirectional else 1), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x).relu()
        h = h if self.rnn.batch_first else h.transpose(0, 1)
        h = self.rnn(h)[0]
        h = h if self.rnn.batch_first else h.transpose(0, 1)
        return self.last(h)


def quantized(kind: str, scheme: SchemeName | Scheme = "onnxruntime-cpu", **options):
    torch.manual_seed(0)
    model, x = Tagger(kind).eval(), torch.randn(16, 7, 5)
    return tersor.quantize(model, x[:2], data=x, scheme=scheme, **options), x


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_computes_what_is_simulated(kind, tmp_path):
    result, x = quantized(kind)
    path = result.export(tmp_path / "int8.onnx").path
    checked = result.verify(path, x, latency=False)
    assert min(c.sqnr for c in checked.exported.values()) > 100
    assert min(c.sqnr for c in checked.quantized.values()) > 25
    assert len(checked.in_float) == Tagger(kind).rnn.num_layers
    assert {name.partition("_")[0] for name, _ in checked.in_float} == {"rnn"}
    assert all("weights are stored as integers" in reason for _, reason in checked.in_float)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["onnxruntime-cpu", "openvino-cpu", "tensorrt"])
def test_integers_are_read_directly_in_front_of_the_layer(kind, scheme, tmp_path):
    graph = onnx.load(quantized(kind, scheme)[0].export(tmp_path / "int8.onnx").path).graph
    floats = [x.name for x in graph.initializer if x.data_type == onnx.TensorProto.FLOAT]
    assert [name for name in floats if "rnn.weight" in name and "_scale" not in name] == []
    made = {value: node for node in graph.node for value in node.output}
    for node in graph.node:
        for value in node.input[1:3] if node.op_type in ("LSTM", "GRU", "RNN") else ():
            before = made[value]
            before = made[before.input[0]] if before.op_type in ("Reshape", "Mul") else before
            wanted = "Cast" if scheme == "onnxruntime-cpu" else "DequantizeLinear"
            assert before.op_type == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_converts_the_weights_when_it_loads_the_file(kind, tmp_path):
    path = quantized(kind)[0].export(tmp_path / "int8.onnx").path
    nodes = optimized_nodes(path, ())
    made = {value for node in nodes for value in node.output}
    layers = [node for node in nodes if node.op_type in ("LSTM", "GRU", "RNN")]
    assert len(layers) == Tagger(kind).rnn.num_layers
    assert [name for node in layers for name in node.input[1:3] if name in made] == []


@pytest.mark.parametrize("kind", ["two directions", "GRU"])
def test_the_form_of_the_weights_changes_no_number(kind, tmp_path):
    result, x = quantized(kind)
    files = [tmp_path / "cast.onnx", tmp_path / "pair.onnx"]
    for file, is_cast in zip(files, (True, False), strict=True):
        scheme = replace(find_scheme("onnxruntime-cpu"), cast_weights=is_cast)
        export_onnx(result.network, file, scheme=scheme)
    plain, pair = (Runtime(file, optimize=False)(x)["output"] for file in files)
    assert (plain == pair).all()


def test_an_excluded_layer_keeps_its_floats():
    result, _ = quantized("LSTM", exclude=["rnn"])
    assert "LSTM: excluded by the user" in [getattr(r, "reason", "") for r in result.records]


def test_scales_per_tensor(tmp_path):
    scheme = replace(find_scheme("onnxruntime-cpu"), per_channel=False)
    result, x = quantized("two directions", scheme=scheme)
    checked = result.verify(result.export(tmp_path / "int8.onnx").path, x, latency=False)
    assert min(c.sqnr for c in checked.exported.values()) > 60


@pytest.mark.parametrize("kind", ["two directions", "GRU"])
def test_a_file_that_is_made_float_again_has_the_rounded_weights(kind, tmp_path):
    result, x = quantized(kind)
    path = result.export(tmp_path / "int8.onnx").path
    again, _ = tersor.load(path, dequantize=True)
    stored = {v.name: numpy_helper.to_array(v) for v in onnx.load(path).graph.initializer}
    for name in ("rnn.W_l0", "rnn.R_l0"):
        wanted = torch.from_numpy(stored[name] * stored[f"{name}_scale"])
        assert stored[name].dtype == np.int8
        assert torch.equal(again.state_dict()[name], wanted)
    with torch.no_grad():
        assert sqnr(capture(again)(x), result(x)) > 30  # activations are not rounded any more


def test_integers_that_two_layers_share_are_stored_once(tmp_path):
    text = """g (float[L, N, 6] x) => (float[L, N, 6] y) {
        a = LSTM <hidden_size = 6> (x, W, R) one = Constant <value_ints = [1]> ()
        b = Squeeze(a, one) c = LSTM <hidden_size = 6> (b, W, R) y = Squeeze(c, one) }"""
    made = model(text, W=random(1, 24, 6), R=random(1, 24, 6, seed=1))
    network = capture(tersor.load(write(tmp_path, made))[0], torch.randn(4, 2, 6))
    result = tersor.quantize(network, data=torch.randn(4, 2, 6))
    path = result.export(tmp_path / "int8.onnx").path
    graph = onnx.load(path).graph
    assert [x.name for x in graph.initializer if x.data_type == onnx.TensorProto.INT8] == ["W", "R"]
    assert [node.op_type for node in graph.node].count("Mul") == 2
    assert min(c.sqnr for c in result.verify(path, latency=False).exported.values()) > 100


def test_a_network_with_a_recurrent_layer_trains():
    result, x = quantized("GRU")
    trained = tersor.train(result, [x, x])
    before, after = (r.network.module.state_dict()["rnn.weight_ih_l0"] for r in (result, trained))
    assert not torch.equal(before, after)
