"""Ranges that are set on the way are those of a pass of their own, and so is all that follows."""

import pytest
import torch
from torch import nn

import tersor
from tersor.frontend.capture import capture
from tersor.quant.fast_rounding import Rounding
from tersor.quant.placement.place import place
from tersor.quant.range_methods import MSE, MinMax, Percentile
from tersor.quant.ranges.calibrate import activation_quantizers, weight_ranges
from tersor.quant.ranges.observed import observed_ranges
from tersor.quant.ranges.overflow import guard_bias_overflow
from tersor.quant.ranges.seen_values import SeenValues
from tersor.quant.rounding.layerwise import Setting
from tersor.quant.rounding.streamed_ranges import can_be_streamed
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.captured import captured
from tests.zoo import ZOO

FEW = ONNXRUNTIME_CPU.with_bits(4, 8)
WHOLE = MinMax()


def channels_last(x):
    """The order in memory that the walk has, on which rounding errors depend."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def both_ways(network, batches, held_back=1, method=WHOLE):
    """The network rounded after a pass for the ranges, and rounded with ranges on the way."""
    weight_ranges(network)
    before, way = network.copy(), network.copy()
    observed_ranges(before, batches, method)
    guard_bias_overflow(before)
    Rounding().round(before, batches, Setting(held_back))
    Rounding().round(way, batches, Setting(held_back, ranges=method))
    return before, way


def assert_equal(before, way):
    wanted, found = before.module.state_dict(), way.module.state_dict()
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
    pairs = zip(activation_quantizers(before), activation_quantizers(way), strict=True)
    assert all(one.enabled == other.enabled for (_, one), (_, other) in pairs)
    assert sorted(map(str, before.records)) == sorted(map(str, way.records))
    steps = [record.step for record in way.records if record.step in ("calibrate", "round")]
    assert steps == sorted(steps)


@pytest.mark.parametrize("method", [MinMax(), MSE(), Percentile(99.0)])
@pytest.mark.parametrize("name", ["resnet", "separable", "densenet", "shufflenet", "conv1d"])
def test_all_is_the_same_to_the_bit(name, method):
    network = captured(name)
    place(network, FEW)
    given = [ZOO[name].args(torch.float64, batch=4, seed=seed) for seed in range(3)]
    batches = [(tuple(map(channels_last, args)), {}) for args in given]
    before, way = both_ways(network, batches, method=method)
    assert_equal(before, way)
    assert any(record.step == "round" for record in way.records)
    assert all(quantizer.enabled for _, quantizer in activation_quantizers(way))


@pytest.mark.parametrize("act", [nn.ReLU6(), nn.ReLU(), nn.Identity()])
@pytest.mark.parametrize("bias", [1e9, -1e9])
def test_biases_fit_before_their_layer_is_rounded(act, bias):
    """Whether a bias is clipped depends on a range that comes after it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1), act, nn.Conv2d(3, 2, 1)
    )
    with torch.no_grad():
        model[2].weight[1], model[2].bias[1] = 1e-9, bias
    batches = [((channels_last(torch.rand(4, 2, 4, 4)),), {}) for _ in range(3)]
    network = capture(model.eval(), batches[0][0][0])
    place(network, FEW)
    before, way = both_ways(network, batches)
    assert_equal(before, way)
    assert any("32 bits" in str(record) for record in way.records)


class Fork(nn.Module):
    """Two layers read one value."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        y = torch.relu(self.stem(x))
        return self.a(y), self.b(y)


def test_a_value_with_two_quantizers_has_both_ranges():
    """With few samples, the wider one of them has a margin."""
    torch.manual_seed(0)
    batches = [((torch.rand(4, 4),), {}) for _ in range(3)]
    network = capture(Fork().eval(), batches[0][0][0])
    place(network, FEW, activations={"*": 8, "a": 4})
    values = [value for value, _ in activation_quantizers(network)]
    assert len(set(values)) < len(values)
    assert_equal(*both_ways(network, batches))


class Shared(nn.Module):
    """One layer is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.head(x), self.head(torch.relu(self.first(x)))


def test_shared_weights_need_their_ranges_before():
    assert can_be_streamed(captured("resnet"))
    assert not can_be_streamed(capture(Shared().eval(), torch.rand(2, 3, 8, 8)))


def model_of_few_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU()).eval()


@pytest.mark.parametrize(
    ("bits", "options", "passes"),
    [
        (4, tersor.WithData(), 0),
        (4, tersor.WithData(activation_range=MSE()), 0),
        (8, tersor.WithData(), 1),
        (4, tersor.WithData(rounding=None), 1),
    ],
)
def test_few_bits_need_no_pass_for_ranges(monkeypatch, bits, options, passes):
    data, count = torch.randn(16, 3, 12, 12, generator=torch.manual_seed(1)), list[int]()

    add = SeenValues.add

    def counted(seen, batches):
        count.append(1)
        add(seen, batches)

    monkeypatch.setattr(SeenValues, "add", counted)
    quantize = lambda: tersor.quantize(  # noqa: E731
        model_of_few_layers(), data=data, weights=bits, options=options, tolerance=None
    )
    found = quantize()
    assert len(count) == passes
    monkeypatch.setattr("tersor.api.steps.can_be_streamed", lambda _: False)
    assert_equal(quantize().network, found.network)
