"""Few bits as one number: which layers and calls get them, and what keeps 8."""

import torch
from torch import nn

import tersor
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Skipped
from tersor.graph.nodes import source
from tersor.quant.placement.few_bits import STEP, inner_layers
from tersor.quant.placement.place import quantizers, weight_quantizer
from tersor.quant.scheme import FewBits
from tersor.quant.schemes import find_scheme
from tests.quant.test_read_widths import Residual, Shortcut, X, bits


def weight_bits(q):
    found = {layer.name: weight_quantizer(layer) for layer in layers(q.network)}
    return {name: quantizer.grid.bits for name, quantizer in found.items() if quantizer}


def left(q):
    return {r.layer for r in q.records if isinstance(r, Skipped) and r.step == STEP}


def test_inputs_of_inner_layers_have_few_bits_and_shortcuts_are_rounded_again():
    assert bits(4, Shortcut()) == {
        "x": 8,
        "relu": 8,  # read by the sum, and by a layer
        "to conv2d_1": 4,
        "conv2d_1": 8,
        "relu_1": 8,
        "to conv2d_2": 4,
        "conv2d_2": 8,
        "relu_2": 8,
        "mean": 8,
    }


def test_weights_of_inner_layers_only_and_the_record_says_what_was_left():
    q = tersor.quantize(Residual(), X, weights=3, activations=4)
    assert weight_bits(q) == {"stem": 8, "left": 3, "right": 3, "head": 8}
    assert left(q) == {"stem", "head", "add", "adaptive_avg_pool2d"}


def test_without_few_bits_of_activations_a_number_is_for_every_layer():
    assert set(weight_bits(tersor.quantize(Residual(), X, weights=4)).values()) == {4}
    assert set(bits(12).values()) == {12}


def test_a_mapping_leaves_nothing_out():
    q = tersor.quantize(Residual(), X, weights={"*": 4}, activations={"*": 4})
    assert {m.grid.bits for _, m in quantizers(q.network)} == {4}
    assert not left(q)


def test_names_and_a_number_together():
    scheme = find_scheme("onnxruntime-cpu").with_bits(4, 4)
    q = tersor.quantize(Residual(), X, scheme=scheme, weights={"head": 4}, activations={"add": 5})
    assert weight_bits(q) == {"stem": 8, "left": 4, "right": 4, "head": 4}
    read = {source(n).name: m.grid.bits for n, m in quantizers(q.network)}
    assert read["relu_1"] == 5
    assert left(q) == {"stem", "adaptive_avg_pool2d"}


def test_eight_bit_weights_between_few_ones_cannot_overflow():
    """The pair-safe range of the scheme stays for the first and the last layer."""
    scheme = find_scheme("onnxruntime-cpu").with_bits(4, 4)
    assert scheme.few == FewBits(4, 4)
    assert scheme.pair_safe == "rows"
    assert (scheme.weight.bits, scheme.activation.bits) == (8, 8)
    assert scheme.with_bits(None, None).few == scheme.few
    assert scheme.with_bits(8, 8).few is None
    assert scheme.with_bits(None, 16).activation.bits == 16


def test_a_network_without_inner_layers_has_few_bits_everywhere():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    q = tersor.quantize(model.eval(), X, weights=4, activations=4)
    assert {m.grid.bits for _, m in quantizers(q.network)} == {4}
    assert not left(q)


class TwoEnds(nn.Module):
    """Two inputs meet, and two heads part."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(4, 8)
        self.middle = nn.Linear(8, 8)
        self.c, self.d = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x, y):
        z = self.middle(torch.relu(self.a(x) + self.b(y)))
        return self.c(torch.relu(z)), self.d(z)


def test_a_network_may_have_several_first_and_last_layers():
    network = capture(TwoEnds().eval(), (torch.randn(4, 4), torch.randn(4, 4)))
    inner = inner_layers(network)
    assert [layer.name for layer in layers(network) if layer.node in inner] == ["middle"]


def test_the_file_computes_what_was_simulated(tmp_path):
    torch.manual_seed(0)
    q = tersor.quantize(Shortcut(), X, data=X, weights=4, activations=4)
    export_onnx(q.network, tmp_path / "few.onnx", scheme=q.scheme)
    proof = q.verify(tmp_path / "few.onnx", torch.randn(32, 3, 8, 8), latency=False)
    assert proof.sqnr > 60
    assert proof.integer_share == 1
