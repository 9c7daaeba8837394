"""A mixture with quantizers switched off is the network that is quantized anew, ranges known."""

import math
from dataclasses import replace

import pytest
import torch

from tersor.api.frame import Frame
from tersor.api.steps import place_with_data
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.in_float.switched import switched
from tersor.quant.levels import WithData
from tersor.quant.noise.noise_shares import noise_shares, weight_readers
from tersor.quant.placement.kept import NOTHING, Mixtures
from tersor.quant.placement.place import quantizers
from tersor.quant.ranges.known_ranges import KnownRanges
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tersor.quant.tolerance import Judge, Tolerance
from tests.far_ranges import pictures, ranges

STORED = 10 * math.log10(1.1)  # dB: weights of layers in float are not rounded, and may add a tenth


@pytest.fixture(scope="module")
def problem():
    """A network, how it is quantized, and its names."""
    network, known = capture(ranges(), pictures(2)), KnownRanges()
    frame, batches = Frame(ONNXRUNTIME_CPU), [((pictures(4, seed),), {}) for seed in range(2)]

    def quantized(kept, known=known):
        given = replace(frame, kept=kept)
        return place_with_data(network.copy(), given, batches, WithData(), known)

    return network, batches, quantized


def test_mixtures_are_measured_as_if_they_were_quantized(problem):
    network, batches, quantized = problem
    everything, judge = quantized(NOTHING), Judge(network, batches, Tolerance(20.0))
    integer = weight_readers(everything.network)
    chosen = [layer for layer in layers(network) if layer.node.name in integer]
    noise = noise_shares(everything.network, everything.prepared, batches, judge.parts)
    mixtures = Mixtures(network, ONNXRUNTIME_CPU, chosen, (), noise)
    measure, names = switched(everything, mixtures, judge), [layer.node.name for layer in chosen]
    for kept in (NOTHING, frozenset(names[:1]), frozenset(names[-1:])):
        found, wanted = measure(kept), judge.attempt(kept, quantized(kept))
        for figure, other in zip(found.figures, wanted.figures, strict=True):
            assert figure.sqnr == pytest.approx(other.sqnr, abs=0.1 + STORED)
        assert bool((found.excess >= wanted.excess).all())
    assert all(quantizer.enabled for _, quantizer in quantizers(everything.network))


def test_known_ranges_are_those_that_would_be_measured(problem):
    _, _, quantized = problem
    quantized(NOTHING)
    kept = frozenset({"conv2d"})
    known, measured = quantized(kept), quantized(kept, KnownRanges())
    pairs = zip(quantizers(known.network), quantizers(measured.network), strict=True)
    for (_, first), (_, second) in pairs:
        assert torch.equal(first.scale, second.scale)
        assert torch.equal(first.zero_point, second.zero_point)
    assert known.network.records == measured.network.records
