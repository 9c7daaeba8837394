"""Block reconstruction: better than layer by layer on new data, and never worse where it counts."""

from dataclasses import replace
from functools import cache

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from tersor.core.metrics import sqnr
from tersor.errors import InvalidInputError
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Skipped
from tersor.graph.nodes import argument
from tersor.graph.simplify import fold
from tersor.quant.block_rounding import Blocks
from tersor.quant.fast_rounding import Rounding
from tersor.quant.placement.place import place
from tersor.quant.range_methods import MSE
from tersor.quant.ranges.calibrate import data_free_ranges, weight_ranges
from tersor.quant.rounding.layerwise import Setting
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_CPU
from tests.captured import outputs
from tests.zoo import ZOO

TWO_BITS = ONNXRUNTIME_CPU.with_bits(2, 8)
QUICK = Blocks(iterations=100)
THREE_BITS = replace(  # everything, the first and last layers, too
    ONNXRUNTIME_CPU.with_bits(3, None), activation=replace(ONNXRUNTIME_CPU.activation, bits=3)
)


@cache
def _float(name):
    """A network that ends in a feature map, where no errors cancel in a global pool."""
    case = ZOO[name]
    model = nn.Sequential(*list(case.make())[:-3])
    network = capture(model, case.args())
    fold(network)
    return network


@cache
def _quantized(name, scheme):
    network = _float(name).copy()
    place(network, scheme)
    weight_ranges(network, method=MSE())
    data_free_ranges(network, {})
    return network


def quantized(name, scheme=TWO_BITS):
    return _quantized(name, scheme).copy()


def samples(name, seed, batches=8):
    case = ZOO[name]
    return [(case.args(batch=32, seed=seed + i), {}) for i in range(batches)]


def error(network, name, seed=100):
    """Squared error on samples that no solver has seen."""
    total = 0.0
    for args, kwargs in samples(name, seed, batches=4):
        want, got = (outputs(net, *args, **kwargs)[0] for net in (_float(name), network))
        total += float((want - got).square().mean())
    return total


def state(network):
    return {key: value.clone() for key, value in network.module.state_dict().items()}


def _rounded(seed):
    network = quantized("resnet")
    replace(QUICK, seed=seed).round(network, samples("resnet", seed=0))
    return network


@cache
def by_blocks():
    """A network rounded block by block; not to be edited."""
    return _rounded(0)


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2", "shufflenet"])
def test_new_outputs_come_closer_to_float_than_layer_by_layer(name):
    one_by_one, together = quantized(name), quantized(name)
    Rounding().round(one_by_one, samples(name, seed=0))
    Blocks(iterations=300).round(together, samples(name, seed=0))
    assert error(together, name) < error(one_by_one, name)


@pytest.mark.parametrize("scheme", [TWO_BITS, DFQ_PAPER.with_bits(3, 8)], ids=lambda s: s.name)
def test_weights_are_on_their_grids(scheme):
    network = quantized("resnet", scheme)
    Blocks(iterations=20).round(network, samples("resnet", seed=0, batches=2))
    for layer in layers(network):
        module = network.module.get_submodule(argument(layer.node, "weight").target)
        assert module.enabled
        assert torch.allclose(module(layer.weight), layer.weight)


def test_a_block_that_gets_no_better_stays_as_it_was():
    one_by_one, together = quantized("resnet"), quantized("resnet")
    data = samples("resnet", seed=0)
    Rounding().round(one_by_one, data, Setting(held_back=2))
    wild = Blocks(iterations=3, weight_rate=100.0, scale_rate=3.0, bias_rate=3.0)
    wild.round(together, data, Setting(held_back=2))
    before, after = state(one_by_one), state(together)
    assert all(torch.equal(before[key], after[key]) for key in before)
    found = [record for record in together.records if record.step == "reconstruct"]
    assert len(found) == 3
    assert all(isinstance(record, Skipped) for record in found)


def test_every_block_has_a_record():
    network, told = quantized("resnet"), []
    data = samples("resnet", seed=0)
    QUICK.round(network, data, Setting(held_back=2, on_layer=lambda *news: told.append(news)))
    found = [record for record in network.records if record.step == "reconstruct"]
    names = ["0", "3.branch.0 … 3.branch.3", "4.branch.0 … 4.shortcut.0"]
    assert [record.layer for record in found] == names
    rounded = [record for record in network.records if record.step == "round"]
    assert told == [(number + 1, 6, record) for number, record in enumerate(rounded)]
    applied = [record for record in found if isinstance(record, Applied)]
    assert applied
    for record in applied:
        assert record.numbers["error after"] <= record.numbers["error before"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, same, other = map(state, (by_blocks(), _rounded(0), _rounded(1)))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_dropping_activations_helps_with_few_samples():
    errors = []
    for drop in (0.0, 0.5):
        network = quantized("resnet", THREE_BITS)
        replace(QUICK, drop=drop).round(network, samples("resnet", 0, batches=4))
        errors.append(error(network, "resnet"))
    assert errors[1] < errors[0]


def test_long_weights_stay_as_they_are():
    one_by_one, together = (quantized("resnet", ONNXRUNTIME_CPU) for _ in range(2))
    data = samples("resnet", seed=0, batches=2)
    Rounding().round(one_by_one, data)
    QUICK.round(together, data)
    before, after = state(one_by_one), state(together)
    assert all(torch.equal(before[key], after[key]) for key in before)
    reasons = {record.reason for record in together.records if record.step == "reconstruct"}
    assert len(reasons) == 1
    assert "fewer than 8 bits" in reasons.pop()


def test_blocks_that_are_too_large_stay_as_they_are():
    network = quantized("resnet")
    replace(QUICK, iterations=20, largest=2).round(network, samples("resnet", 0, batches=2))
    skipped = [r for r in network.records if r.step == "reconstruct" and isinstance(r, Skipped)]
    assert any("its 3 layers cannot be cut apart" in record.reason for record in skipped)


def test_the_file_computes_what_the_simulation_computes(tmp_path):
    network = by_blocks()
    path = export_onnx(network, tmp_path / "blocks.onnx").path
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (x,) = ZOO["resnet"].args(batch=32, seed=7)
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert sqnr(outputs(network, x)[0], torch.from_numpy(np.asarray(got))) > 40


def test_no_data():
    with pytest.raises(InvalidInputError, match="no batch to round with"):
        Blocks().round(quantized("resnet"), [])
