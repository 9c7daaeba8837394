"""Weights of 8 bits are rounded with as many samples as fit, and with two batches at least."""

import pytest
import torch
from torch import nn

import tersor
from tersor.frontend.capture import capture
from tersor.graph.nodes import source
from tersor.quant.fast_rounding import Rounding
from tersor.quant.placement.place import quantizers
from tersor.quant.rounding.enough_samples import enough

WIDEST = 4 * 6 * 6  # numbers of the first layer's output


@pytest.fixture(scope="module")
def network():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(WIDEST, 3)).eval()
    return capture(model, torch.randn(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("samples", "held_back", "chosen"),
    [
        (1000, 2, ([0, 1, 2, 3, 4, 5, 6, 7], 2)),
        (20, 2, ([0, 1, 2, 6, 7], 2)),  # 5 of them are to be held out, so two batches
        (16, 2, ([0, 1, 2, 6], 1)),
        (1, 2, ([0, 6], 1)),
        (10, 0, ([0, 1, 2], 0)),
    ],
)
def test_first_batches_of_either_kind(network, samples, held_back, chosen):
    batches = [((torch.full((4, 1, 8, 8), float(i)),), {}) for i in range(8)]
    few, held = enough(network, batches, held_back, samples * WIDEST)
    assert ([int(args[0].mean()) for args, _ in few], held) == chosen


@pytest.mark.parametrize(("bits", "told"), [(8, True), (4, False)])
def test_only_fine_weights_have_fewer_samples_and_it_is_told(network, bits, told):
    options = tersor.WithData(rounding=Rounding(fine_numbers=WIDEST))
    found = tersor.quantize(network, data=torch.randn(96, 1, 8, 8), weights=bits, options=options)
    records = [r.what for r in found.records if r.layer == "the samples"]
    assert records == ["24 of 96 samples are enough to round weights of 8 bits with"] * told


def test_a_table_that_is_looked_up_in_integers_is_no_value_of_a_sample():
    words, width, length, count = 500, 8, 6, 96
    model = nn.Sequential(nn.Embedding(words, width), nn.Linear(width, width)).eval()
    ids = torch.arange(count * length).remainder(words).reshape(count, length)
    options = tersor.WithData(rounding=Rounding(fine_numbers=count * length * width))
    found = tersor.quantize(model, ids[:2], data=ids, options=options)
    tables = [source(node).target for node, _ in quantizers(found.network)]
    assert "0.weight" in tables
    assert not [record for record in found.records if record.layer == "the samples"]
