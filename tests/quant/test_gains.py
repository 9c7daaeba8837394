"""What integers make slower stays in floating point, and the cut is the best of all mixtures."""

from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tersor
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.placement.float_layers import SLOWER
from tersor.quant.placement.gains import Calls, side, times
from tersor.quant.placement.integer_values import Flow
from tersor.quant.placement.place import place, quantizers
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tersor.quant.speed import ONNXRUNTIME


class Mixed(nn.Module):
    """Convolutions of several kinds, a sum, a pooling, and a function without integer kernel."""

    def __init__(self, width: int, depthwise: bool):
        super().__init__()
        groups = width if depthwise else 1
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.spread = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.point = nn.Conv2d(width, width, 1)
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Conv2d(width, 4, 1)

    def forward(self, x):
        a = self.first(x).relu()
        b = nn.functional.hardswish(self.spread(a))
        return self.last(self.pool(self.point(b) + a)).mean((2, 3))


def analysed(model, size, scheme=ONNXRUNTIME_CPU):
    network = capture(model, torch.zeros(2, 3, size, size))
    chosen = list(layers(network))
    flow = Flow(network, scheme, {layer.node for layer in chosen})
    return network, flow, chosen


@settings(max_examples=12)
@given(
    width=st.sampled_from([4, 16, 64]),
    size=st.sampled_from([8, 32, 56]),
    depthwise=st.booleans(),
    conversion=st.sampled_from([0.01, 0.3, 3.0]),
)
def test_no_mixture_of_all_is_faster(width, size, depthwise, conversion):
    network, flow, chosen = analysed(Mixed(width, depthwise), size)
    speed = replace(ONNXRUNTIME, quantize=conversion, dequantize=conversion)
    calls = Calls(network, flow, chosen, speed)
    free = [node for node in flow.values if calls.is_free(node)]
    subsets = chain.from_iterable(combinations(free, n) for n in range(len(free) + 1))
    best = min(calls.total(frozenset(subset)) for subset in subsets)
    found = times(network, flow, chosen, speed)
    assert found.best == pytest.approx(best, rel=1e-3)
    assert found.best <= min(found.floating, found.integer) * (1 + 1e-3)


def slower(model, size, scheme="onnxruntime-cpu", **given):
    q = tersor.quantize(
        model, torch.rand(2, 3, size, size), input_range=(0, 1), scheme=scheme, **given
    )
    return {record.layer for record in q.records if getattr(record, "reason", "") == SLOWER}


def depthwise_net():
    """Large depthwise convolutions with few channels around them, and hard-swish in between."""
    torch.manual_seed(0)
    kept = [nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish()]
    for _ in range(4):
        kept += [nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.Hardswish()]
    return nn.Sequential(*kept, nn.Conv2d(16, 256, 3, 2, 1), nn.ReLU(), nn.Conv2d(256, 64, 3))


def test_depthwise_layers_among_functions_without_integer_kernels_stay_in_float():
    assert slower(depthwise_net(), 112) >= {"2", "4", "6", "8"}


def test_whoever_asks_for_bits_or_for_every_layer_gets_them():
    assert not slower(depthwise_net(), 112, weights=4)
    assert not slower(depthwise_net(), 112, scheme=replace(ONNXRUNTIME_CPU, speed=None))


def test_large_products_are_integers():
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()
    )
    assert not slower(model, 64)


def test_a_network_that_takes_no_time_is_left_alone():
    assert not slower(depthwise_net(), 16)


def test_they_store_8_bits():
    network = capture(depthwise_net(), torch.zeros(2, 3, 112, 112))
    last = list(layers(network))[-1].node.name
    place(network, ONNXRUNTIME_CPU, kept={last})
    stored = [module for _, module in quantizers(network) if module.stored_only]
    assert len(stored) >= 4
    assert {module.grid.bits for module in stored} == {8}


def test_a_noise_that_cannot_be_told_decides_nothing():
    starts, ends = np.array([0, 2, 0, 3]), np.array([2, 1, 3, 1])
    assert side(starts, ends, np.array([np.nan, 5.0, 9.0, 2.0]), 4) == {0, 3}
