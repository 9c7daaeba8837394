"""Rounding with data: outputs come closer to float, on data that was not seen."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tersor.data.walk.stream import Stream
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Skipped
from tersor.quant.fast_rounding import Rounding
from tersor.quant.placement.place import place, weight_quantizer
from tersor.quant.range_methods import MSE
from tersor.quant.ranges.calibrate import data_free_ranges, weight_ranges
from tersor.quant.rounding.layerwise import Setting
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_CPU
from tests.captured import captured, outputs
from tests.zoo import ZOO

NAMES = ["vgg", "grouped", "separable", "resnet", "shufflenet", "conv1d"]
THREE_BITS = {
    "per tensor": DFQ_PAPER.with_bits(3, 8),
    "per channel": ONNXRUNTIME_CPU.with_bits(3, 8),
}


def quantized(name, scheme):
    network = captured(name)
    place(network, scheme)
    weight_ranges(network, method=MSE())
    data_free_ranges(network, {})
    return network


def samples(name, seed, batches=4):
    case = ZOO[name]
    return [(case.args(torch.float64, batch=16, seed=seed + i), {}) for i in range(batches)]


def error(network, name, seed):
    float_network, total = captured(name), 0.0
    for args, kwargs in samples(name, seed):
        for want, got in zip(
            outputs(float_network, *args, **kwargs), outputs(network, *args, **kwargs), strict=True
        ):
            total += float((want - got).square().mean())
    return total


@pytest.mark.parametrize("scheme", THREE_BITS.values(), ids=THREE_BITS.keys())
@pytest.mark.parametrize("name", NAMES)
def test_held_out_outputs_come_closer_to_float(name, scheme):
    network = quantized(name, scheme)
    nearest = error(network, name, seed=100)
    Rounding().round(network, samples(name, seed=0))
    assert error(network, name, seed=100) < nearest
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        if quantizer is not None and not quantizer.stored_only:  # stored weights are on the grid
            assert torch.allclose(quantizer(layer.weight), layer.weight)


def test_every_layer_has_a_record_with_its_objective():
    network = quantized("resnet", THREE_BITS["per tensor"])
    Rounding().round(network, samples("resnet", seed=0))
    records = [r for r in network.records if r.step == "round"]
    assert len(records) == len(list(layers(network)))
    for record in records:
        if isinstance(record, Applied):
            assert record.numbers["objective after"] <= record.numbers["objective before"]


def test_the_same_seed_gives_the_same_weights():
    found = []
    for _ in range(2):
        network = quantized("vgg", THREE_BITS["per channel"])
        Rounding(samples=0, samples_per_weight=(2, 2)).round(network, samples("vgg", seed=0))
        found.append({k: v.clone() for k, v in network.module.state_dict().items()})
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_the_shortcut_error_is_made_up_for():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.first(x)
            return x + self.second(x)

    torch.manual_seed(0)
    model = Block().eval()
    data = [((torch.randn(16, 4, 8, 8),), {}) for _ in range(4)]
    held_out = torch.randn(16, 4, 8, 8)
    network = capture(model, data[0][0])
    place(network, DFQ_PAPER.with_bits(3, 16))
    weight_ranges(network, method=MSE())
    data_free_ranges(network, {}, {"x": (-4.0, 4.0)})
    alone = network.copy()
    Rounding().round(network, data)
    # Without knowing of the shortcut: the second layer's own output is the target.
    (add,) = alone.graph.find_nodes(op="call_function", target=torch.ops.aten.add.Tensor)
    add.target = torch.ops.aten.sub.Tensor
    Rounding().round(alone, data)
    add.target = torch.ops.aten.add.Tensor
    alone.finish()
    with torch.no_grad():
        want = model(held_out)
        errors = [float((want - n(held_out)).square().mean()) for n in (network, alone)]
    assert errors[0] < 0.9 * errors[1]


def test_layers_in_float_are_left_alone():
    network = quantized("decoder", ONNXRUNTIME_CPU.with_bits(4, 8))
    before = dict(network.module.state_dict())
    Rounding().round(network, samples("decoder", seed=0))
    skipped = [r.layer for r in network.records if isinstance(r, Skipped) and r.step == "round"]
    assert "up" in skipped
    assert torch.equal(network.module.state_dict()["up.weight"], before["up.weight"])


@pytest.mark.parametrize("pairs", ["rows", "channels", "any"])
@pytest.mark.parametrize("name", ["vgg", "grouped", "separable", "shufflenet", "conv1d"])
def test_pairs_of_8_bit_weights_stay_safe(name, pairs):
    network = captured(name)
    place(network, ONNXRUNTIME_CPU)
    weight_ranges(network, pairs)
    data_free_ranges(network, {})
    free = network.copy()
    Rounding().round(network, samples(name, seed=0), Setting(pair_safe=pairs))
    assert _overflowing(network, pairs) == 0
    if name in ("vgg", "grouped") and pairs == "rows":  # without it some pairs do overflow
        Rounding().round(free, samples(name, seed=0))
        assert _overflowing(free, pairs) > 0


def _overflowing(network, pairs) -> int:
    """How many pairs leave 16 bits: neighbours once channels are last, or any two."""
    count = 0
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        _, outputs, inputs, *kernel = layer.grouped_weight().shape
        if (
            quantizer is None
            or quantizer.stored_only
            or (layer.groups > 1 and outputs == inputs == 1)
        ):
            continue
        step = quantizer.scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        row = (quantizer(layer.weight.detach()) / step).round().movedim(1, -1).flatten(1)
        if pairs == "any" or (pairs == "channels" and inputs % 2 and sum(kernel) > len(kernel)):
            row = torch.cat((row.topk(2).values, row.topk(2, largest=False).values), 1)
        row = torch.nn.functional.pad(row, (0, row.shape[1] % 2))
        count += int(((row[:, ::2] + row[:, 1::2]).abs() > 128).sum())
    return count


def test_no_data():
    network = quantized("vgg", THREE_BITS["per tensor"])
    with pytest.raises(InvalidInputError, match="no batch to round with"):
        Rounding().round(network, [])


@pytest.mark.parametrize("name", [*NAMES, "encoder_layer", "causal_attention"])
def test_a_stream_computes_what_the_network_computes(name):
    network = quantized(name, replace(DFQ_PAPER))
    data = samples(name, seed=0, batches=2)
    stream = Stream(network, data, simulate=True)
    last = network.graph.output_node().all_input_nodes
    for node in network.graph.nodes:
        if node.op == "output":
            found = [stream.of(value) for value in last]
        stream.run(node)
    for batch, (args, kwargs) in enumerate(data):
        for want, got in zip(outputs(network, *args, **kwargs), found, strict=True):
            assert torch.equal(want, got[batch])


def test_a_shared_weight_is_rounded_once_and_a_computed_bias_is_left_alone():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.offset = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)

        def forward(self, x):
            x = self.linear(self.linear(x).relu())
            return nn.functional.linear(x, self.offset.weight, self.offset.bias * x.mean())

    torch.manual_seed(0)
    data = [((torch.randn(16, 8),), {}) for _ in range(4)]
    network = capture(Shared().eval(), data[0][0])
    place(network, ONNXRUNTIME_CPU.with_bits(3, 8))
    weight_ranges(network)
    data_free_ranges(network, {}, {"x": (-4.0, 4.0)})
    Rounding().round(network, data)
    first, second, third = [r for r in network.records if r.step == "round"]
    assert isinstance(first, Applied)
    assert isinstance(second, Skipped)
    assert "rounded for another layer" in second.reason
    assert isinstance(third, Skipped)
    assert "its bias is computed" in third.reason


@pytest.mark.parametrize(
    ("inputs", "positions"), [(9, 1_800), (144, 28_800), (1_152, 100_000), (20_000, 400_000)]
)
def test_short_rows_need_fewer_positions_and_long_ones_more(inputs, positions):
    assert Rounding().positions(inputs) == positions


@pytest.mark.parametrize(("bits", "positions"), [(7, 100_000), (8, 20_000), (16, 20_000)])
def test_fine_weights_need_fewer_positions_and_trials(bits, positions):
    options = Rounding(damping=(0.01, 0.1, 1.0), starts=(1.0, 1.3)).at(bits)
    assert options.positions(1_000) == positions
    assert (options.damping, options.starts) == (
        ((0.01, 0.1, 1.0), (1.0, 1.3)) if bits < 8 else ((0.1,), (1.0,))
    )
    assert options.at(bits) == options


def test_the_damping_is_the_one_that_suits_samples_held_back():
    few, dampings = samples("separable", seed=0, batches=3), (1e-4, 1e-2, 1.0)

    def objectives(damping):
        network = quantized("separable", THREE_BITS["per channel"])
        Rounding(damping=damping, rescale=0, sweeps=0).round(network, few, Setting(held_back=2))
        records = (r for r in network.records if r.step == "round" and isinstance(r, Applied))
        return next(records).numbers["objective after"]  # only first layers have the same problem

    alone = [objectives((damping,)) for damping in dampings]
    assert objectives(dampings) == min(alone)
    assert min(alone) < max(alone)


def test_a_layer_that_keeps_nearest_has_its_bias_corrected():
    """What suits the samples to round with, all alike, does not suit those held back."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 4)).double().eval()
    alike = torch.randn(12, dtype=torch.float64).expand(16, 12)
    seen = [((alike * (1 + 0.1 * i),), {}) for i in range(4)]
    judges = [((torch.randn(64, 12, dtype=torch.float64),), {}) for _ in range(2)]
    network = capture(model, seen[0][0])
    place(network, ONNXRUNTIME_CPU.with_bits(3, 16))
    weight_ranges(network, method=MSE())
    data_free_ranges(network, {}, {"input_1": (-4.0, 4.0)})
    before = {name: x.clone() for name, x in network.module.state_dict().items()}
    options = Rounding(damping=(1e-9,), starts=(1.0,), rescale=0)
    options.round(network, seen + judges, Setting(held_back=2))
    (record,) = (r for r in network.records if r.step == "round")
    assert isinstance(record, Skipped)
    assert "nearest" in record.reason
    (layer,) = layers(network)
    quantizer = weight_quantizer(layer)
    assert torch.equal(layer.weight, before["0.weight"])
    x = torch.cat([args[0] for args, _ in seen])
    with torch.no_grad():
        error = model(x) - nn.functional.linear(x, quantizer(layer.weight))
        uncorrected = error - model[0].bias
    assert torch.allclose(layer.bias, error.mean(0), atol=1e-4)
    assert float(uncorrected.mean(0).abs().max()) > 0.01
