"""Ranges of weight and activation quantizers without data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersor.core.grid import Grid
from tersor.data.walk.observe import Extremes, observe
from tersor.distributions.propagation import propagate
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Skipped
from tersor.graph.nodes import source
from tersor.graph.simplify import fold
from tersor.quant.placement.place import place, quantizers, weight_quantizer
from tersor.quant.range_methods import MSE, MinMax, Percentile
from tersor.quant.ranges.calibrate import activation_quantizers, data_free_ranges, weight_ranges
from tersor.quant.ranges.input_range import input_ranges
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_CPU, ONNXRUNTIME_VNNI
from tests.captured import captured


def placed(name, scheme=ONNXRUNTIME_CPU):
    network = captured(name)
    fold(network)
    place(network, scheme)
    return network


def weights(network):
    """Stored weight and quantizer of every quantized weight."""
    pairs = [(source(node), module) for node, module in quantizers(network)]
    return [(network.tensor(s).detach(), q) for s, q in pairs if s.op == "get_attr"]


@pytest.mark.parametrize("name", ["plain", "decoder", "grouped"])
def test_minmax_weights_use_the_whole_grid_of_each_channel(name):
    network = placed(name, ONNXRUNTIME_VNNI)
    weight_ranges(network)
    found = weights(network)
    assert found
    for weight, quantizer in found:
        axes = tuple(a for a in range(weight.ndim) if a != quantizer.axis)
        w = weight.numpy()
        want = np.maximum(w.max(axes) / 127, w.min(axes) / -128)
        np.testing.assert_allclose(quantizer.scale.numpy(), want, rtol=1e-12)
        error = (quantizer(weight) - weight).abs().amax(axes)
        assert bool((error <= quantizer.scale / 2 * (1 + 1e-9)).all())


@pytest.mark.parametrize("pairs", ["rows", "channels", "any"])
@pytest.mark.parametrize("name", ["mobilenetv2", "grouped", "conv1d", "encoder_layer"])
def test_pair_safe_weights_never_saturate_16_bits(name, pairs):
    network = placed(name, ONNXRUNTIME_CPU)
    weight_ranges(network, pairs)
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        if quantizer is None or quantizer.stored_only:  # computes in float
            continue
        weight = layer.weight.detach()
        q = quantizer(weight) / quantizer.scale.reshape(-1, *[1] * (weight.ndim - 1))
        if layer.is_depthwise and layer.grouped_weight().shape[1] == 1:  # accumulates in 32 bits
            assert torch.equal(quantizer.scale, _minmax_scale(weight, quantizer))
            continue
        row = q.round().movedim(1, -1)
        row = F.pad(row, (0, row.shape[-1] % 2)) if pairs == "channels" else row  # per tap
        row = row.flatten(1)
        if pairs == "any" or (pairs == "channels" and is_unknown(layer)):
            row = torch.cat((row.topk(2).values, row.topk(2, largest=False).values), 1)
        row = F.pad(row, (0, row.shape[1] % 2))
        assert float((row[:, ::2] + row[:, 1::2]).abs().max()) <= 128


def is_unknown(layer):
    """OpenVINO's kernels meet an odd number of channels in several ways."""
    inputs, *kernel = layer.grouped_weight().shape[2:]
    return inputs % 2 and np.prod(kernel) > 1


def test_narrow_weights_need_no_safe_pairs():
    narrow = placed("plain", ONNXRUNTIME_CPU.with_bits(4, None))
    weight_ranges(narrow, "rows", MinMax())
    for weight, quantizer in weights(narrow):
        assert torch.equal(quantizer.scale, _minmax_scale(weight, quantizer))


def _minmax_scale(weight, quantizer):
    fresh = type(quantizer)(quantizer.grid, quantizer.axis)
    fresh.set_range(*MinMax()(weight, quantizer.grid, quantizer.axis))
    return fresh.scale


@pytest.mark.parametrize("scheme", [ONNXRUNTIME_VNNI, DFQ_PAPER], ids=["channel", "tensor"])
def test_mse_ranges_are_better_and_percentiles_narrower_than_minmax(scheme):
    errors, scales = {}, {}
    for method in (MinMax(), MSE(), Percentile(90.0)):
        network = placed("plain", scheme.with_bits(4, None))
        weight_ranges(network, method=method)
        found = weights(network)
        errors[type(method)] = [float((q(w) - w).square().sum()) for w, q in found]
        scales[type(method)] = [float(q.scale.sum()) for _, q in found]
    assert all(a <= b for a, b in zip(errors[MSE], errors[MinMax], strict=True))
    assert sum(errors[MSE]) < 0.95 * sum(errors[MinMax])
    assert sum(scales[Percentile]) < sum(scales[MinMax])


def test_activation_ranges_are_beta_plus_six_gamma():
    network = placed("plain")
    data_free_ranges(network, propagate(network, {"input_1": (-3.0, 3.0)}))
    ends = {value.name: _ends(quantizer) for value, quantizer in activation_quantizers(network)}
    for conv, relu in (("conv2d", "relu"), ("conv2d_1", "relu_"), ("conv2d_2", "relu_1")):
        notes = network.statistics[conv]
        low, high = ends[relu]
        assert low == 0
        assert high == pytest.approx(float((notes.mean + 6 * notes.std).max()), rel=1e-6)
    assert ends["input_1"] == pytest.approx((-3, 3), abs=0.02)
    what = {r.layer: r.what for r in network.records if isinstance(r, Applied)}
    assert what["relu"] == "range from the statistics of norms"
    assert what["input_1"] == "the range of the input"


def _ends(quantizer):
    grid = quantizer.grid
    steps = torch.tensor([grid.qmin, grid.qmax]) - quantizer.zero_point
    return tuple((steps * quantizer.scale).tolist())


def test_per_channel_activation_ranges_follow_each_channel():
    network = placed("plain")
    value, quantizer = next((v, q) for v, q in activation_quantizers(network) if v.name == "relu")
    quantizer.axis = 1
    known = propagate(network)
    data_free_ranges(network, known)
    torch.testing.assert_close(quantizer.scale, known[value.name].high / 255)


def test_a_shared_quantizer_takes_the_range_of_its_first_value():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.second = nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return self.second(F.max_pool2d(F.relu(self.bn(self.first(x))), 2))

    network = capture(Net().eval(), torch.randn(2, 3, 4, 4))
    fold(network)
    place(network, ONNXRUNTIME_CPU)
    shared = [(n, q) for n, q in quantizers(network) if source(n).name in ("relu", "max_pool2d")]
    assert len({q for _, q in shared}) == 1
    assert len(shared) == 2
    known = propagate(network)
    data_free_ranges(network, known)
    high = float(known["relu"].high.max())
    assert shared[0][1].scale.item() == pytest.approx(high / 255)
    assert [r.layer for r in network.records].count("relu") == 1
    assert "max_pool2d" not in [r.layer for r in network.records]


@pytest.mark.parametrize("name", ["vgg", "encoder_layer", "tied_embedding", "two_inputs"])
def test_without_batch_norm_random_inputs_set_every_range_and_say_so(name):
    network = placed(name)
    data_free_ranges(network, propagate(network, inputs := input_ranges(network)), inputs)
    what = {r.layer: r.what for r in network.records if isinstance(r, Applied)}
    for value, quantizer in activation_quantizers(network):
        assert quantizer.enabled
        expected = "input" if value.op == "placeholder" else "random inputs"
        assert expected in what[value.name] or "range from" in what[value.name]
    assert any("random inputs" in text for text in what.values())
    x = network.args, network.kwargs
    seen = {v: Extremes() for v, _ in activation_quantizers(network)}
    observe(network, [x], seen)
    for value, quantizer in activation_quantizers(network):
        width = float(seen[value].high - seen[value].low)
        assert float(quantizer.scale) * 255 > 0.5 * width


def test_random_inputs_are_repeatable_and_shaped_like_the_example():
    scales = []
    for _ in range(2):
        network = placed("vgg")
        data_free_ranges(network, {})
        scales.append([float(q.scale) for _, q in activation_quantizers(network)])
    assert scales[0] == scales[1]


def test_random_inputs_pass_by_the_quantizers():
    network = placed("vgg")
    weight_ranges(network)
    for _, quantizer in quantizers(network):
        quantizer.scale = quantizer.scale * 50  # a ruinous simulation must not be seen
    before = placed("vgg")
    for one in (network, before):
        data_free_ranges(one, {})
    pairs = zip(activation_quantizers(network), activation_quantizers(before), strict=True)
    assert all(torch.equal(a.scale, b.scale) for (_, a), (_, b) in pairs)


def test_an_input_is_called_as_in_files():
    """Where the graph needs another name: `input_1`, for `input` is a word of Python."""
    network = capture(nn.Sequential(nn.Conv2d(3, 2, 1)).eval(), torch.ones(1, 3, 4, 4))
    assert input_ranges(network, {"input": (0.0, 1.0)}) == {"input_1": (0.0, 1.0)}
    network.input_names = ("input.1",)  # as a file has it
    assert input_ranges(network, {"input.1": (0.0, 1.0)}) == {"input_1": (0.0, 1.0)}
    with pytest.raises(InvalidInputError, match=r"'images' .*; inputs that have one are input\.1$"):
        input_ranges(network, {"images": (0.0, 1.0)})


def test_input_ranges_come_from_the_caller_or_the_example():
    network = captured("two_inputs")
    ranges = input_ranges(network, {"image": (0.0, 1.0)})
    assert ranges["image"] == (0.0, 1.0)
    assert set(ranges) == {"image", "vector"}  # the example holds one gain, repeated
    assert network.records[-1].layer == "gain"
    vector = network.args[1]
    assert ranges["vector"] == (float(vector.min()), float(vector.max()))
    assert input_ranges(network, (-1.0, 2.0))["gain"] == (-1.0, 2.0)
    with pytest.raises(InvalidInputError, match="'img'"):
        input_ranges(network, {"img": (0.0, 1.0)})
    with pytest.raises(InvalidInputError, match="no range"):
        input_ranges(network, (1.0, 0.0))


def test_an_example_of_one_value_leaves_the_range_unknown():
    network = capture(nn.Sequential(nn.Conv2d(1, 2, 1)), torch.zeros(2, 1, 3, 3))
    assert input_ranges(network) == {}
    assert isinstance(network.records[-1], Skipped)
    place(network, ONNXRUNTIME_CPU)
    data_free_ranges(network, propagate(network))
    (_, quantizer), *_ = activation_quantizers(network)
    assert 3 < float(quantizer.scale) * 255 < 12  # a unit normal


@pytest.mark.parametrize("grid", [Grid(8), Grid(8, signed=True, symmetric=True), Grid(16)])
def test_range_methods_agree_with_their_grid(grid):
    x = torch.randn(4, 50, generator=torch.manual_seed(0))
    for method in (MinMax(), Percentile(), MSE()):
        low, high = method(x, grid, 0)
        assert low.shape == high.shape == (4,)
        assert bool((low < high).all())


class MaskedAttention(nn.Module):
    """Scores of the keys that a mask rules out become the lowest float, as transformers do it."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x, keep):
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = (q @ k.transpose(1, 2)).masked_fill(~keep, torch.finfo(torch.float32).min)
        return scores.softmax(-1) @ v


def test_a_value_that_holds_a_mask_stays_in_floating_point():
    torch.manual_seed(0)
    model, x = MaskedAttention().eval(), torch.randn(4, 5, 8)
    keep = torch.ones(4, 1, 5, dtype=torch.bool)
    keep[:, :, 3:] = False
    network = capture(model, (x, keep))
    softmax = torch.ops.aten.softmax.int
    place(network, replace(ONNXRUNTIME_CPU, integer_ops=ONNXRUNTIME_CPU.integer_ops | {softmax}))
    weight_ranges(network)
    data_free_ranges(network, {})
    skipped = [r for r in network.records if isinstance(r, Skipped)]
    refused = [r for r in skipped if r.step == "calibrate"]
    assert [r.layer for r in refused] == ["masked_fill"]
    assert "mask" in refused[0].reason
    with torch.no_grad():
        want, got = model(x, keep), network(x, keep)
    assert float((want - got).norm() / want.norm()) < 0.03
