"""Biases that need more than 32 bits."""

import onnxruntime as ort
import pytest
import torch
from torch import nn

import tersor
from tersor.core.metrics import sqnr
from tersor.distributions.propagation import propagate
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.nodes import source
from tersor.quant.adaround import AdaRound
from tersor.quant.fast_rounding import Rounding
from tersor.quant.placement.place import place, quantizers
from tersor.quant.ranges.calibrate import data_free_ranges, weight_ranges
from tersor.quant.ranges.overflow import guard_bias_overflow
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_VNNI

SCHEMES = pytest.mark.parametrize(
    "scheme", [ONNXRUNTIME_VNNI, DFQ_PAPER], ids=["channel", "tensor"]
)


def dead_channel(scheme, bias, clip):
    """A quantized convolution whose second channel is nothing but its bias."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 1)
    conv.weight.data[1] = 1e-12
    conv.bias.data[1] = bias
    model = nn.Sequential(conv, clip) if clip else nn.Sequential(conv)
    network = capture(model, torch.rand(2, 2, 4, 4))
    place(network, scheme)
    weight_ranges(network)
    data_free_ranges(network, propagate(network, {"input_1": (0.0, 1.0)}))
    return network, model


def scales(network):
    """Scales of the weights."""
    return next(q.scale.clone() for n, q in quantizers(network) if source(n).op == "get_attr")


def largest_error(network, model):
    x = torch.rand(64, 2, 4, 4, generator=torch.manual_seed(1))
    with torch.no_grad():
        return (network(x) - model(x)).abs().amax((0, 2, 3))


def test_a_constant_channel_keeps_its_value():
    network, model = dead_channel(ONNXRUNTIME_VNNI, 0.7, None)
    before = scales(network)
    assert largest_error(network, model)[1] > 0.5
    guard_bias_overflow(network)
    step = (model[0].weight.abs().sum() + 2) / 255
    assert bool((largest_error(network, model) < step).all())
    after = scales(network)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    (layer,) = layers(network)
    steps = layer.bias.detach()[1] / (after[1] / 255)
    assert 2**29 < float(steps) <= 2**30 * (1 + 1e-6)
    assert network.records[-1].numbers["channels"] == 1
    count = len(network.records)
    guard_bias_overflow(network)
    assert torch.equal(scales(network), after)
    assert len(network.records) == count


@SCHEMES
@pytest.mark.parametrize("bias", [1e9, -1e9])
def test_a_bias_that_is_clipped_away_costs_the_others_nothing(scheme, bias):
    network, model = dead_channel(scheme, bias, nn.ReLU6())
    guard_bias_overflow(network)
    assert bool((largest_error(network, model) < 0.05).all())
    if scheme is DFQ_PAPER:
        assert network.records[-1].numbers["widest"] == 1.0
    (layer,) = layers(network)
    assert float(layer.bias.detach()[1].abs()) < 7


@SCHEMES
def test_biases_that_fit_are_left_alone(scheme):
    network, _ = dead_channel(scheme, 0.0, nn.ReLU())
    before, count = scales(network), len(network.records)
    guard_bias_overflow(network)
    assert torch.equal(scales(network), before)
    assert len(network.records) == count


SAMPLES = torch.randn(16, 3, 8, 8, generator=torch.manual_seed(0))
SOLVERS = {"default": Rounding(), "nearest": None, "adaround": AdaRound(iterations=20)}


def with_dead_channel():
    """A channel is dead: the BatchNorm multiplies it by 0, and adds 2."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 3, 3, padding=1),
    ).eval()
    with torch.no_grad():
        model[3].weight[0], model[3].bias[0] = 0.0, 2.0
    return model


@pytest.mark.parametrize(
    ("scheme", "solver"),
    [
        ("onnxruntime-cpu", "default"),
        ("onnxruntime-cpu", "adaround"),
        ("tensorrt", "default"),
    ],
)
def test_a_dead_channel_costs_nothing_with_data(scheme, solver, tmp_path):
    model, path = with_dead_channel(), tmp_path / "dead.onnx"
    options = tersor.WithData(rounding=SOLVERS[solver])
    tersor.quantize(model, data=SAMPLES, scheme=scheme, options=options).export(path)
    (got,) = ort.InferenceSession(str(path)).run(None, {"input": SAMPLES.numpy()})
    want = model(SAMPLES).detach()
    assert sqnr(want, torch.from_numpy(got)) > 28
