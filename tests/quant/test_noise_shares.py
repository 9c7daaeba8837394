"""The estimated noise of every quantizer, against the network with that quantizer alone."""

import pytest
import torch
from scipy.stats import spearmanr

from tersor.api.frame import Frame
from tersor.api.steps import place_and_round
from tersor.core.metrics import signal_and_noise
from tersor.data.outputs.output_parts import Part
from tersor.frontend.capture import capture
from tersor.quant.levels import WithData
from tersor.quant.noise.alone import only, quantizer_uses
from tersor.quant.noise.noise_shares import Projections, noise_shares
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.far_ranges import pictures, ranges

PARTS = slice(8), slice(8, None)


@pytest.fixture(scope="module")
def rounded():
    network, batches = (
        capture(ranges(), pictures(2)),
        [((pictures(8, seed),), {}) for seed in (0, 1)],
    )
    return place_and_round(network, Frame(ONNXRUNTIME_CPU), batches, WithData(rounding=None))


def alone(network, quantizer, x):
    with torch.no_grad():
        with only(network, ()):
            wanted = network(x)
        with only(network, (quantizer,)):
            given = network(x)
    pairs = [signal_and_noise(wanted[:, part], given[:, part]) for part in PARTS]
    return [noise / signal for signal, noise in pairs]


def test_they_are_those_of_each_quantizer_alone(rounded):
    network, x = rounded.network, pictures(8, seed=5)
    parts = [(0, Part("", "values", 1, part.start or 0, part.stop or 16)) for part in PARTS]
    batches = [((x[i : i + 1],), {}) for i in range(8)]
    found = noise_shares(network, rounded.prepared, batches, parts, options=Projections(least=400))
    uses = [use for use in quantizer_uses(network) if use.side == "activations"]
    estimated = torch.stack([found.values[use.value.name] for use in uses])
    measured = torch.tensor([alone(network, use.quantizer, x) for use in uses])
    assert estimated.shape == measured.shape == (len(uses), 2)
    large = measured > 0.01 * measured.sum(0)
    ratios = (estimated / measured)[large]
    assert 0.5 < float(ratios.min()) <= float(ratios.max()) < 2
    for part in range(2):
        assert spearmanr(estimated[:, part], measured[:, part])[0] > 0.9
    assert len(found.weights) == 4


def test_parts_that_are_not_looked_at_have_none(rounded):
    parts = [(0, Part("", "values", 1, part.start or 0, part.stop or 16)) for part in PARTS]
    batches = [((pictures(4, seed=5),), {})]
    found = noise_shares(rounded.network, rounded.prepared, batches, parts, parts[1:])
    every = torch.stack([*found.values.values(), *found.weights.values()])
    assert float(every[:, 0].abs().max()) == 0
    assert float(every[:, 1].max()) > 0
