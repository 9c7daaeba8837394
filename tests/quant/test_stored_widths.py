"""Weights that are integers in the file alone get 16 bits where 8 bits add noise to the outputs."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import tersor
from tersor.core.metrics import sqnr
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.placement.place import place, quantizers
from tersor.quant.range_methods import MinMax
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.ranges.observed import observed_ranges
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tersor.quant.stored_widths import widen_stored
from tests.frontend.onnx.files import model, random, write


class Recurrent(nn.Module):
    """A recurrent layer whose inputs may have very different sizes."""

    def __init__(self, spread):
        super().__init__()
        torch.manual_seed(0)
        self.sizes = torch.tensor([spread, *[1 / spread] * 7])
        self.rnn = nn.GRU(8, 24, batch_first=True)
        self.head = nn.Linear(24, 16)
        with torch.no_grad():
            self.rnn.get_parameter("weight_ih_l0").mul_(2 / self.sizes)

    def forward(self, x):
        return self.head(self.rnn(x)[0])

    def samples(self):
        return torch.randn(8, 12, 8, generator=torch.Generator().manual_seed(1)) * self.sizes


def widened(q):
    return [r.layer for r in q.records if "stored in 16 bits; with 8" in getattr(r, "what", "")]


def integers(path):
    stored = onnx.load(path).graph.initializer
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.INT16)
    return sorted(
        (*t.dims, t.data_type) for t in stored if t.data_type in kinds and len(t.dims) > 2
    )


@pytest.mark.parametrize(("spread", "names"), [(1.0, []), (30.0, ["rnn.weight_ih_l0"])])
def test_a_matrix_whose_columns_differ_gets_16_bits(tmp_path, spread, names):
    net = Recurrent(spread)
    x = net.samples()
    q = tersor.quantize(net, x, data=x, tolerance=None)
    assert widened(q) == names
    path = q.export(tmp_path / "int8.onnx").path
    wide = onnx.TensorProto.INT16 if names else onnx.TensorProto.INT8
    assert integers(path) == [(1, 72, 8, wide), (1, 72, 24, onnx.TensorProto.INT8)]
    (found,) = Runtime(path)((x,)).values()
    with torch.no_grad():
        assert sqnr(net(x), torch.from_numpy(found)) > 25


def test_directions_may_have_different_widths(tmp_path):
    net = Recurrent(30.0)
    net.rnn = nn.GRU(8, 12, batch_first=True, bidirectional=True)
    with torch.no_grad():
        net.rnn.get_parameter("weight_ih_l0").mul_(2 / net.sizes)
        net.rnn.get_parameter("weight_ih_l0_reverse").mul_(0)
    x = net.samples()
    q = tersor.quantize(net, x, data=x, tolerance=None)
    assert widened(q) == ["rnn.weight_ih_l0"]
    (found,) = Runtime(q.export(tmp_path / "int8.onnx").path)((x,)).values()
    with torch.no_grad():
        assert sqnr(q(x), torch.from_numpy(found)) > 100


def test_a_recurrent_layer_of_a_file_gets_16_bits(tmp_path):
    text = """g (float[12, N, 8] x) => (float[12, N, 16] y) {
        h, last = GRU <hidden_size = 24> (x, w, r) s = Squeeze(h, one) y = MatMul(s, m) }"""
    sizes = Recurrent(30.0).sizes
    stored = {"w": random(1, 72, 8) / 2 / sizes.numpy(), "r": random(1, 72, 24, seed=1) / 5}
    path = write(tmp_path, model(text, 17, **stored, m=random(24, 16) / 5, one=np.array([1])))
    x = torch.randn(12, 8, 8, generator=torch.Generator().manual_seed(1)) * sizes
    q = tersor.quantize(path, x, data=[x, x], tolerance=None)
    assert widened(q) == ["w"]
    written = q.export(tmp_path / "int8.onnx").path
    assert integers(written) == [
        (1, 72, 8, onnx.TensorProto.INT16),
        (1, 72, 24, onnx.TensorProto.INT8),
    ]
    wanted, found = (next(iter(Runtime(file)((x,)).values())) for file in (path, written))
    assert sqnr(torch.from_numpy(wanted), torch.from_numpy(found)) > 25


@pytest.mark.parametrize(("wide", "bits"), [(1.0, 8), (50.0, 16)])
def test_a_layer_in_float_gets_16_bits_where_8_undo_what_it_is_for(wide, bits):
    """Columns of very different size have one step per row: 8 bits lose the small ones."""
    torch.manual_seed(0)
    first, net = nn.Linear(8, 32), nn.Sequential()
    net.extend([first, nn.Linear(32, 8)])
    with torch.no_grad():
        first.weight[:, 0] *= wide
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    x[:, 0] /= wide
    network, batches = capture(net, x), [((x,), {})]
    place(network, ONNXRUNTIME_CPU, kept={next(layers(network)).node.name})
    weight_ranges(network)
    observed_ranges(network, batches, MinMax())
    widen_stored(network, batches, kept=True)
    (stored,) = [module for _, module in quantizers(network) if module.stored_only]
    assert stored.grid.bits == bits
