"""Ranges of few samples leave room for what the samples have not shown."""

import pytest
import torch
from torch import nn

from tersor.frontend.capture import capture
from tersor.quant.placement.place import place
from tersor.quant.range_methods import Percentile
from tersor.quant.ranges.calibrate import activation_quantizers
from tersor.quant.ranges.margin import ENOUGH, SampleExtremes
from tersor.quant.ranges.observed import observed_ranges
from tersor.quant.schemes import ONNXRUNTIME_CPU


def seen(values):
    found = SampleExtremes()
    for batch in values.split(5):
        found(batch)
    return found


def test_as_large_as_the_largest_of_enough_samples():
    """On average over draws, for values that fall off exponentially."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.empty(500, ENOUGH, 50).exponential_(generator=generator)
    expected = draws.amax((1, 2)).mean()
    few = torch.stack([seen(draw[:8]).widened()[1] for draw in draws]).mean()
    assert float(few) == pytest.approx(float(expected), rel=0.05)
    assert float(draws[:, :8].amax((1, 2)).mean()) < 0.85 * float(expected)


@pytest.mark.parametrize("samples", [1, ENOUGH, 100])
def test_one_sample_and_enough_samples_count_as_they_are(samples):
    values = torch.randn(samples, 3, 4)
    low, high = seen(values).widened()
    assert (float(low), float(high)) == (float(values.min()), float(values.max()))


def test_what_does_not_vary_gets_no_margin():
    values = torch.randn(8, 20).relu()
    values[:, 0], values[:, 1] = 0, 5
    assert tuple(map(float, seen(values).widened())) == (0.0, 5.0)


class Detector(nn.Module):
    """Scores that are far below zero but at the few places that look like a pattern."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.score = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 1, 1)
        with torch.no_grad():
            self.score.weight.fill_(1)

    def forward(self, x):
        return self.score(self.first(x).relu()).sigmoid()


def ends(x, *method):
    network = capture(Detector().eval(), x[:2])
    place(network, ONNXRUNTIME_CPU)
    observed_ranges(network, [((x,), {})], *method)
    found = {value.name: q for value, q in activation_quantizers(network)}
    return {name: float((q.grid.qmax - q.zero_point) * q.scale) for name, q in found.items()}


def test_values_in_between_get_it_and_inputs_and_other_methods_do_not():
    x = torch.randn(8, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    model, highs = Detector(), ends(x)
    plain = ends(x, Percentile(100.0))
    assert highs["x"] == pytest.approx(float(x.max()), rel=0.01)
    hidden = float(model.first(x).detach().max())
    assert highs["relu"] > 1.1 * hidden
    assert plain["relu"] == pytest.approx(hidden, rel=0.01)
