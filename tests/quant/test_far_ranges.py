"""Parts of very different ranges are told where they cost much, and only there."""

import pytest
import torch
from torch import nn

import tersor
from tersor.graph.layers import Layer, layers
from tersor.graph.nodes import operand
from tersor.quant.placement.quantizer import quantizer_at
from tersor.quant.ranges.far_ranges import STEP, _lost
from tests.far_ranges import pictures, ranges

COLUMNS = torch.tensor([1, 10, 1, 1000.0, 1, 1e4])


def table(compensated):
    """A network that reads raw columns, with weights as large as their ranges are small."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    if compensated:
        with torch.no_grad():
            model[0].weight /= COLUMNS
    return model.eval()


def rows(count, seed=0):
    return COLUMNS * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def told(model, data):
    q = tersor.quantize(model, data=data, activations={"*": 8})  # and nothing stays in float
    return [(r.layer, r.reason) for r in q.records if r.step == STEP]


def test_a_concatenation_of_far_ranges_is_told():
    ((where, reason),) = told(ranges(), pictures(32))
    assert where == "cat"
    assert "outputs of 'last'" in reason
    assert "exclude=['last']" in reason


def test_raw_columns_are_told_and_diagnosed():
    ((where, reason),) = told(table(True), rows(64))
    assert where == "input_1"
    assert "to ±3.41e+04" in reason
    found = tersor.diagnose(table(True), data=rows(64), activations={"*": 8})
    assert "channel 5 reaches" in str(found)


def test_small_columns_that_do_not_matter_are_not_told():
    assert not told(table(False), rows(64))
    assert not told(table(True), torch.randn(64, 6))


def test_what_stays_in_float_is_not_told():
    q = tersor.quantize(ranges(), data=pictures(32), exclude=["last"])
    assert not [r for r in q.records if r.step == STEP]


@pytest.mark.parametrize("groups", [1, 2])
def test_the_noise_is_what_rounding_adds(groups):
    """Compared with rounding random inputs: independent channels, so the formula is exact."""
    torch.manual_seed(0)
    layer, step = nn.Conv2d(4, 6, 3, groups=groups), 0.5
    x = torch.tensor([1, 10, 100, 1000.0])[:, None, None] * torch.randn(64, 4, 16, 16)
    noise = layer((x / step).round() * step) - layer(x)
    measured = noise.var((0, 2, 3)) / layer(x).var((0, 2, 3))
    weight = layer.weight.detach().reshape(groups, 6 // groups, 4 // groups, 3, 3)
    predicted = _lost(weight, x.var((0, 2, 3)), step)
    torch.testing.assert_close(predicted, measured, rtol=0.1, atol=0)


def test_a_layer_that_reads_a_part_of_its_inputs_counts_by_itself():
    q = tersor.quantize(ranges(), data=pictures(32), activations={"*": 8})
    (last,) = [x for x in layers(q.network) if x.name == "last"]
    assert isinstance(last, Layer)
    quantizer = quantizer_at(q.network, operand(last.node))
    assert quantizer is not None
    variance = torch.cat([torch.full((8,), 1e6), torch.ones(8)])
    lost = _lost(last.grouped_weight(), variance, float(quantizer.scale))
    assert lost[:8].max() < 0.01
    assert lost[8:].min() > 0.5
