"""Empirical bias correction: on the data, no layer's mean output is off any more."""

from dataclasses import replace

import pytest
import torch

from tersor.data.walk.stream import Stream
from tersor.graph.layers import layers
from tersor.graph.network import Applied
from tersor.quant.placement.place import place
from tersor.quant.range_methods import MinMax
from tersor.quant.ranges.calibrate import data_free_ranges, weight_ranges
from tersor.quant.rounding.bias import Nearest
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tests.captured import captured, outputs
from tests.zoo import ZOO

# Biases stay real numbers, so that means are met exactly.
SCHEME = replace(ONNXRUNTIME_CPU.with_bits(3, 8), integer_bias=False)


def quantized(name):
    network = captured(name)
    place(network, SCHEME)
    weight_ranges(network, method=MinMax())
    data_free_ranges(network, {})
    return network


def data(name, seed=0):
    return [(ZOO[name].args(torch.float64, batch=16, seed=seed + i), {}) for i in range(3)]


def last_means(network, name):
    """Mean of every layer's output, layer by layer, on the same data."""
    means = {}
    for key, net in ((True, network), (False, captured(name))):
        stream = Stream(net, data(name), simulate=key)
        found = {layer.node.name: layer for layer in layers(stream.network)}
        for node in stream.network.graph.nodes:
            stream.run(node)
            if node.name in found:
                layer = found[node.name]
                values = torch.cat(list(stream.values[node.name])).movedim(layer.channel_axis, 0)
                means.setdefault(layer.name, {})[key] = values.flatten(1).mean(1)
    return means


@pytest.mark.parametrize("name", ["vgg", "grouped", "separable", "resnet", "decoder", "conv1d"])
def test_means_are_those_of_the_float_network(name):
    network = quantized(name)
    before = last_means(network, name)
    Nearest().round(network, data(name))
    after = last_means(network, name)
    corrected = [r.layer for r in network.records if r.step == "correct bias"]
    assert corrected
    for name in corrected:
        off, was = ((m[name][True] - m[name][False]).abs().max() for m in (after, before))
        assert off <= 1e-9 < was or off == was == 0


def test_records_tell_the_shift_and_layers_in_float_are_left_alone():
    network = quantized("decoder")
    Nearest().round(network, data("decoder"))
    records = [r for r in network.records if r.step == "correct bias"]
    assert records
    assert all(isinstance(r, Applied) and r.numbers["largest shift"] >= 0 for r in records)
    assert "up" not in {r.layer for r in records}


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_new_outputs_come_closer_to_float(name):
    network, plain = quantized(name), quantized(name)
    Nearest().round(network, data(name))
    errors = [0.0, 0.0]
    for args, kwargs in data(name, seed=50):
        (want,) = outputs(captured(name), *args, **kwargs)[:1]
        for i, net in enumerate((network, plain)):
            errors[i] += float((outputs(net, *args, **kwargs)[0] - want).square().mean())
    assert errors[0] < errors[1]
