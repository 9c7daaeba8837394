"""Layers that stay in float store 8-bit weights, unless that gains nothing or a user says no."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tersor
from tersor.errors import UnsupportedError
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.levels import DataFree
from tersor.quant.placement.float_layers import STORED
from tersor.quant.placement.place import place, quantizers, weight_quantizer
from tersor.quant.ranges.calibrate import weight_ranges
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_CPU, OPENVINO_CPU

#: No layer has an integer kernel.
FLOATS = replace(ONNXRUNTIME_CPU, kernels=frozenset())


class Net(nn.Module):
    """An ordinary, a transposed, and a tiny convolution."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.last = nn.ConvTranspose2d(8, 2, 2, stride=2)

    def forward(self, x):
        return self.last(self.up(self.first(x).relu()).relu())


def placed(model, *example, scheme=ONNXRUNTIME_CPU, **given):
    torch.manual_seed(0)
    network = capture(model, example or (torch.randn(2, 3, 6, 6),))
    place(network, scheme, **given)
    return network


def stored(network):
    """Layers whose weights are integers in the file alone."""
    found = {layer.name: weight_quantizer(layer) for layer in layers(network)}
    return [name for name, quantizer in found.items() if quantizer and quantizer.stored_only]


def test_a_layer_without_an_integer_kernel_stores_its_weights_in_8_bits():
    network = placed(Net())
    assert stored(network) == ["up"]  # the weights of the last are too few
    assert [
        (r.layer, r.numbers) for r in network.records if getattr(r, "what", "") == STORED.format(8)
    ] == [("up", {"weights": 512.0})]


def test_no_value_becomes_integers_for_it():
    network = placed(Net(), scheme=FLOATS)
    assert stored(network) == ["first", "up"]
    assert all(node.args[0].op == "get_attr" for node, _ in quantizers(network))


@pytest.mark.parametrize("scheme", [ONNXRUNTIME_CPU, DFQ_PAPER.with_bits(4, None)])
def test_the_weights_have_8_bits_whatever_the_others_have(scheme):
    network = placed(Net(), scheme=scheme)
    (grid,) = {q.grid for _, q in quantizers(network) if q.stored_only}
    assert (grid.bits, grid.symmetric) == (8, True)


def test_they_have_the_whole_range_as_no_kernel_adds_their_products():
    network = placed(Net(), scheme=replace(FLOATS, pair_safe="any"))
    weight_ranges(network, "any")
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        if quantizer is not None:
            rows = layer.weight.detach().movedim(layer.out_axis, 0).flatten(1).abs().amax(1)
            assert (rows / quantizer.scale).min() > 126.9


@pytest.mark.parametrize(
    ("scheme", "excluded"),
    [(ONNXRUNTIME_CPU, ["up"]), (OPENVINO_CPU, [])],
    ids=["excluded", "openvino"],
)
def test_what_a_user_excludes_or_a_runtime_does_not_convert_at_load_stays_float(scheme, excluded):
    assert stored(placed(Net(), scheme=scheme, exclude=excluded)) == []


class Shared(nn.Module):
    """A weight that a layer reads, and something else."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 16))

    def forward(self, x):
        return F.linear(x, self.weight) + self.weight.sum(0)


def test_a_weight_with_other_readers_stays_float():
    with pytest.raises(UnsupportedError, match="nothing to quantize"):
        placed(Shared(), torch.randn(2, 16), scheme=FLOATS)


def test_layers_that_share_a_weight_share_its_integers():
    layer = nn.Conv2d(16, 16, 3, padding=1)
    network = placed(
        nn.Sequential(layer, nn.ReLU(), layer), torch.randn(2, 16, 6, 6), scheme=FLOATS
    )
    assert len({weight_quantizer(each) for each in layers(network)}) == 1


@pytest.mark.parametrize(
    ("data", "options"),
    [(None, DataFree(equalize=None, absorb=None)), (torch.randn(8, 3, 6, 6), None)],
    ids=["no data", "data"],
)
def test_the_bias_of_a_layer_in_float_stays_and_one_without_gets_none(data, options):
    model = nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), nn.ReLU(), nn.Conv2d(32, 8, 3))
    q = tersor.quantize(model, torch.randn(2, 3, 6, 6), scheme=FLOATS, data=data, options=options)
    first, last = layers(q.network)
    assert first.bias_node is None
    assert torch.equal(last.bias, model[2].bias)
    assert torch.equal(last.weight, model[2].weight)  # a quantizer rounds it to the nearest
