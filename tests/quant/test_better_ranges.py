"""Min-max stays, unless the outputs are more accurate where a few far values are cut off."""

import pytest
import torch
from torch import nn

from tersor.api.frame import Frame
from tersor.frontend.capture import capture
from tersor.quant.placement.place import quantizers
from tersor.quant.range_methods import MSE, MinMax
from tersor.quant.ranges.better_ranges import better_ranges
from tersor.quant.ranges.known_ranges import KnownRanges
from tersor.quant.schemes import ONNXRUNTIME_CPU


class Saturated(nn.Module):
    """What a layer reads has long tails, and at its end they do not matter."""

    def __init__(self, power):
        super().__init__()
        self.power = power
        self.layer = nn.Linear(16, 4)

    def forward(self, x):
        return torch.tanh(self.layer(x**self.power))


def placed(power):
    torch.manual_seed(0)
    network = capture(Saturated(power).eval(), torch.randn(2, 500, 16))
    Frame(ONNXRUNTIME_CPU).place(network)
    return network


def batches(count):
    generator = torch.Generator().manual_seed(1)
    return [((torch.randn(4, 500, 16, generator=generator),), {}) for _ in range(count // 4)]


@pytest.mark.parametrize(
    ("power", "samples", "wanted"),
    [(3, 64, MSE()), (1, 64, MinMax()), (3, 32, MinMax())],
    ids=["long tails", "no tails", "few samples"],
)
def test_the_choice(power, samples, wanted):
    network = placed(power)
    given = batches(samples)
    assert better_ranges(network, given)[0] == wanted
    assert not any(quantizer.enabled for _, quantizer in quantizers(network))


def test_samples_may_come_as_one_batch():
    (whole,) = zip(*[args for args, _ in batches(128)], strict=True)
    assert better_ranges(placed(3), [((torch.cat(whole),), {})])[0] == MSE()


def test_what_was_chosen_once_stays():
    network, known, given = placed(3), KnownRanges(), batches(64)
    ends = []
    for _ in range(2):
        copy = network.copy()
        known.set(copy, given, "auto", network)
        ends.append([quantizer.scale.clone() for _, quantizer in quantizers(copy)])
    whole = network.copy()
    KnownRanges().set(whole, given, MinMax(), network)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    widest = [quantizer.scale for _, quantizer in quantizers(whole)]
    assert any(a < 0.9 * b for a, b in zip(ends[0], widest, strict=True))
