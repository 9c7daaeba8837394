"""Ranges from data: what was seen, by every method, on any number of batches."""

import pytest
import torch
from torch import nn

from tersor.core.affine import dequantize, quantize
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.network import Applied
from tersor.quant.placement.place import place
from tersor.quant.range_methods import MSE, Entropy, MinMax, Percentile
from tersor.quant.ranges.calibrate import activation_quantizers
from tersor.quant.ranges.observed import observed_ranges
from tersor.quant.schemes import ONNXRUNTIME_CPU


class Heavy(nn.Module):
    """Activations with rare large values."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.second(self.first(x) ** 3)


def data(seed=0):
    return torch.randn(512, 8, generator=torch.Generator().manual_seed(seed))


def calibrated(method, bits=4, parts=64):
    torch.manual_seed(0)
    network = capture(Heavy().eval(), data()[:2])
    place(network, ONNXRUNTIME_CPU.with_bits(8, bits))
    observed_ranges(network, [((x,), {}) for x in data().split(parts)], method)
    return network


def value_errors(network):
    """Squared error of the cubed values on the grid of their quantizer."""
    torch.manual_seed(0)
    values = Heavy().first(data()).detach() ** 3
    found = {value.name: q for value, q in activation_quantizers(network)}
    quantizer = found[next(name for name in found if name.startswith("pow"))]
    rounded = quantize(values, quantizer.scale, quantizer.zero_point, quantizer.grid)
    return float(
        (dequantize(rounded, quantizer.scale, quantizer.zero_point) - values).square().sum()
    )


def scales(network):
    return {value.name: q.scale for value, q in activation_quantizers(network)}


def test_min_max_is_what_was_seen():
    network = calibrated(MinMax(), bits=8)
    (value, quantizer), *_ = activation_quantizers(network)
    assert value.op == "placeholder"
    seen = data()
    assert torch.allclose(quantizer.scale, (seen.max() - seen.min()) / 255, rtol=1e-6)
    records = [r for r in network.records if r.step == "calibrate"]
    assert all(isinstance(r, Applied) and "512 samples" in r.what for r in records)
    assert len(records) == len(activation_quantizers(network))


def test_the_squared_error_is_least_with_mse():
    errors = {m: value_errors(calibrated(m)) for m in (MinMax(), MSE(), Percentile(99.0))}
    assert min(errors, key=errors.get) == MSE()
    assert errors[MSE()] < 0.8 * errors[MinMax()]


@pytest.mark.parametrize("method", [MSE(), Percentile(99.0), Entropy()])
def test_outliers_are_clipped(method):
    wide, narrow = scales(calibrated(MinMax())), scales(calibrated(method))
    cubed = next(name for name in wide if name.startswith("pow"))
    assert narrow[cubed] < 0.9 * wide[cubed]


@pytest.mark.parametrize("method", [MinMax(), MSE(), Percentile(99.0), Entropy()])
def test_the_size_of_the_batches_does_not_matter(method):
    first, second = scales(calibrated(method, parts=512)), scales(calibrated(method, parts=50))
    assert all(torch.allclose(first[name], second[name], rtol=1e-4) for name in first)


def test_no_data():
    network = capture(Heavy().eval(), data()[:2])
    place(network, ONNXRUNTIME_CPU)
    with pytest.raises(InvalidInputError, match="no batch to calibrate with"):
        observed_ranges(network, [])


class Clipped(nn.Module):
    """A convolution whose only reader clips each channel at a bound of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.bound = nn.Parameter(torch.tensor([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1))

    def forward(self, x):
        return self.second(torch.minimum(self.first(x).relu(), self.bound))


@pytest.mark.parametrize("method", [MinMax(), Percentile(99.9)], ids=repr)
def test_a_range_ends_where_the_only_reader_clips(method):
    torch.manual_seed(0)
    model, x = Clipped().eval(), 3 * torch.randn(16, 3, 8, 8)
    network = capture(model, x[:2])
    place(network, ONNXRUNTIME_CPU)
    observed_ranges(network, [((x,), {})], method)
    found = {value.name: quantizer for value, quantizer in activation_quantizers(network)}
    quantizer = found["relu"]
    assert float(model.first(x).detach().max()) > 1.0
    assert float(quantizer.scale) * quantizer.grid.steps == pytest.approx(0.4, rel=1e-5)


class ClippedAndSeen(Clipped):
    """The same, but the values are returned as well."""

    def forward(self, x):
        seen = self.first(x).relu()
        return self.second(torch.minimum(seen, self.bound)), seen


def test_a_range_is_whole_where_another_reader_does_not_clip():
    torch.manual_seed(0)
    model, x = ClippedAndSeen().eval(), 3 * torch.randn(64, 3, 8, 8)
    network = capture(model, x[:2])
    place(network, ONNXRUNTIME_CPU)
    observed_ranges(network, [((x,), {})])
    found = {value.name: quantizer for value, quantizer in activation_quantizers(network)}
    quantizer, highest = found["relu"], float(model.first(x).detach().max())
    assert float(quantizer.scale) * quantizer.grid.steps == pytest.approx(highest, rel=1e-5)
