"""The range of a value ends where its readers no longer tell its values apart."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersor.core.grid import Grid
from tersor.frontend.capture import capture
from tersor.quant.placement.place import place
from tersor.quant.range_methods import MinMax
from tersor.quant.ranges import seen_values
from tersor.quant.ranges.calibrate import activation_quantizers, data_free_ranges
from tersor.quant.ranges.observed import observed_ranges
from tersor.quant.schemes import ONNXRUNTIME_CPU


class Gated(nn.Module):
    """A convolution far below zero, a function, and a convolution."""

    def __init__(self, function, returns_both=False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        self.function, self.returns_both = function, returns_both
        with torch.no_grad():
            self.first.weight.mul_(8)
            self.first.bias.copy_(torch.tensor([-60.0] * 6 + [0.0] * 2))  # type: ignore[union-attr]

    def forward(self, x):
        seen = self.first(x)
        given = self.second(self.function(seen))
        return (given, seen) if self.returns_both else given


class Biased(Gated):
    """The same with a bias of its own, behind calls that only move values."""

    def __init__(self, function):
        super().__init__(function)
        self.bias = nn.Parameter(torch.linspace(-4.0, 3.0, 8).reshape(8, 1))

    def forward(self, x):
        seen = self.first(x)[:, :, :, 0] + self.bias
        return self.second(self.function(seen).unsqueeze(3))


def gate(x):
    return x * x.sigmoid()


def other_gate(x):
    return x * (2 * x).sigmoid()


def quantized(model, x, bits=8):
    network = capture(model.eval(), x[:2])
    place(network, ONNXRUNTIME_CPU.with_bits(8, bits))
    observed_ranges(network, [((x,), {})], MinMax())
    return network


def low_end(network, name="conv2d"):
    found = {value.name: quantizer for value, quantizer in activation_quantizers(network)}
    quantizer = found[name]
    return float((quantizer.grid.qmin - quantizer.zero_point) * quantizer.scale)


def picture():
    return torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))


FUNCTIONS = (F.silu, F.gelu, F.hardswish, F.mish, gate)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_what_is_zero_behind_the_only_reader_takes_no_integers(function, bits):
    model, x = Gated(function), picture()
    network = quantized(model, x, bits)
    low, seen = low_end(network), model.first(x).detach()
    assert float(seen.min()) < -50
    step = (float(seen.max()) - low) / Grid(bits).steps
    assert -14 < low < -3 + step  # zero is on the grid
    cut = seen[seen < low]
    assert float((function(cut) - function(torch.tensor(low))).abs().max()) < step / 16


@pytest.mark.parametrize("bits", [4, 8])
def test_a_bias_between_a_value_and_its_only_reader_moves_the_cut(bits):
    model, x = Biased(F.gelu), picture()
    low, seen = low_end(quantized(model, x, bits)), model.first(x).detach()[:, :, :, 0]
    step = (float(seen.max()) - low) / Grid(bits).steps
    assert -14 < low < -6 + step
    lost = F.gelu(seen + model.bias) - F.gelu(seen.clamp(min=low) + model.bias)
    assert float(lost.detach().abs().max()) < step / 16


def test_ranges_that_are_guessed_are_cut_as_well():
    model, x = Gated(F.gelu), picture()
    network = capture(model.eval(), x[:2])
    place(network, ONNXRUNTIME_CPU)
    data_free_ranges(network, {}, {"x": (-4.0, 4.0)})
    assert -14 < low_end(network) < -3


@pytest.mark.parametrize(
    "model",
    [Gated(torch.tanh), Gated(F.leaky_relu), Gated(other_gate), Gated(gate, returns_both=True)],
    ids=["tanh", "leaky relu", "another gate", "returned as well"],
)
def test_the_range_is_whole_for_other_readers(model):
    x = picture()
    low = low_end(quantized(model, x))
    assert low == pytest.approx(float(model.first(x).detach().min()), rel=0.01)


def test_a_gated_network_is_more_accurate_for_it(monkeypatch):
    model, x = Gated(gate), picture()

    def noise():
        given = quantized(model, x)(x)
        return float((given - model(x)).square().sum())

    with torch.no_grad():
        cut = noise()
        monkeypatch.setattr(seen_values, "cut_by_readers", lambda _, __, ends, ___: ends)
        whole = noise()
    assert cut < whole / 2
