"""The paper's solver: against brute force, on every kind of layer, and where it must hold back."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Skipped
from tersor.graph.ops import WEIGHTED
from tersor.quant.adaround import AdaRound
from tersor.quant.placement.place import place, weight_quantizer
from tersor.quant.range_methods import MSE
from tersor.quant.ranges.calibrate import data_free_ranges, weight_ranges
from tersor.quant.rounding.layerwise import Setting
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_CPU
from tests.captured import captured, outputs
from tests.zoo import ZOO

PER_TENSOR = replace(DFQ_PAPER, kernels=frozenset(WEIGHTED)).with_bits(3, 16)
PER_CHANNEL = replace(ONNXRUNTIME_CPU, kernels=frozenset(WEIGHTED)).with_bits(3, 16)
QUICK = AdaRound(iterations=150, learning_rate=2e-2)


def data(*shape, seed=0, batches=4, batch=16, common=1.0):
    """Normal inputs, all values of a sample with something in common."""
    generator = torch.Generator().manual_seed(seed)
    ones = [1] * len(shape)
    shared = torch.randn(batches, batch, *ones, generator=generator, dtype=torch.float64)
    own = torch.randn(batches, batch, *shape, generator=generator, dtype=torch.float64)
    return [((x,), {}) for x in common * shared + 0.5 * own]


def single(module, batches, scheme=PER_TENSOR, then=None):
    """A network of one layer, perhaps with an activation, its weight ranges set."""
    torch.manual_seed(0)
    module.reset_parameters()
    parts = [module] if then is None else [module, then]
    network = capture(nn.Sequential(*parts).to(batches[0][0][0].dtype), batches[0][0])
    place(network, scheme)
    weight_ranges(network, method=MSE())
    return network


def only(network):
    return next(layers(network))


def integers(network):
    layer = only(network)
    with torch.no_grad():
        quantizer = weight_quantizer(layer)
        step = quantizer.scale
        if quantizer.axis is not None:
            step = step.reshape(
                [-1 if i == quantizer.axis else 1 for i in range(layer.weight.ndim)]
            )
        return quantizer(layer.weight.detach()) / step, layer.weight.detach() / step


@pytest.mark.parametrize("then", [None, nn.ReLU(), nn.Hardswish()], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_close_to_the_best_of_all_choices(seed, then):
    batches = data(7, seed=seed)
    network = single(nn.Linear(7, 3), batches, then=then)
    errors = _errors_of_all_choices(network, torch.cat([x for (x,), _ in batches]), then)
    best = float(errors.amin(0).sum())
    replace(QUICK, iterations=500).round(network, batches)
    record = network.records[-1]
    assert isinstance(record, Applied)
    before, after = (record.numbers[f"objective {when}"] for when in ("before", "after"))
    assert best - 1e-12 <= after <= best + 0.15 * (before - best)


def _errors_of_all_choices(network, x, then):
    """Mean squared error of every output for every way to round its row of weights."""
    layer, step = only(network), weight_quantizer(only(network)).scale
    weight, bias = layer.weight.detach(), layer.bias.detach()
    ways = torch.tensor([*itertools.product((0.0, 1.0), repeat=weight.shape[1])])
    tried = ((weight / step).floor() + ways[:, None]).clamp(-4, 3) * step
    follow = then or nn.Identity()
    found, want = follow(tried @ x.T + bias[:, None]), follow(weight @ x.T + bias[:, None])
    return (found - want).square().mean(-1)


LAYERS = {
    "linear": (nn.Linear(6, 8), (6,)),
    "conv": (nn.Conv2d(6, 4, 3, padding=1), (6, 6, 7)),
    "same": (nn.Conv2d(6, 4, (3, 2), dilation=(1, 2), padding="same"), (6, 6, 7)),
    "grouped": (nn.Conv2d(6, 8, 3, stride=2, groups=2), (6, 7, 7)),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6, padding=1, bias=False), (6, 7, 7)),
    "conv1d": (nn.Conv1d(6, 4, 5, stride=2), (6, 13)),
    "conv3d": (nn.Conv3d(3, 4, (2, 3, 1)), (3, 4, 5, 3)),
    "transposed": (nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1), (6, 4, 5)),
    "transposed, grouped": (nn.ConvTranspose2d(6, 4, 3, groups=2), (6, 4, 5)),
    "transposed, 1d": (nn.ConvTranspose1d(6, 4, 3, dilation=2, bias=False), (6, 9)),
}


@pytest.mark.parametrize("scheme", [PER_TENSOR, PER_CHANNEL], ids=["per tensor", "per channel"])
@pytest.mark.parametrize(("module", "shape"), LAYERS.values(), ids=LAYERS.keys())
def test_every_kind_of_layer_comes_closer_to_float(module, shape, scheme):
    batches, unseen = data(*shape), data(*shape, seed=9)
    network = single(module, batches, scheme, nn.ReLU())
    before, weight = network.copy(), only(network).weight.detach().clone()
    nearest, ratio = integers(before)
    QUICK.round(network, batches)
    assert isinstance(network.records[-1], Applied)
    rounded, stored = integers(network)
    assert torch.allclose(rounded, stored)
    assert bool(((rounded - ratio).abs() < 1)[nearest.abs() < 3].all())
    assert not torch.equal(rounded, nearest)
    assert not torch.equal(only(network).weight, weight)
    assert _against(before, weight, network, unseen) < _against(before, weight, before, unseen)


def _against(before, weight, network, batches):
    """Squared error against the float layer, whose weight is given."""
    floating = before.copy()
    only(floating).network.replace_tensor(only(floating).weight_node, weight)
    weight_quantizer(only(floating)).enabled = False
    pairs = [(outputs(floating, *args), outputs(network, *args)) for args, _ in batches]
    return sum(float((want[0] - got[0]).square().mean()) for want, got in pairs)


@pytest.mark.parametrize("name", ["resnet", "separable"])
def test_whole_networks_come_closer_to_float(name):
    case = ZOO[name]
    seen, unseen = (
        [(case.args(torch.float64, batch=32, seed=seed + i), {}) for i in range(2)]
        for seed in (0, 50)
    )
    network = captured(name)
    place(network, DFQ_PAPER.with_bits(3, 8))
    weight_ranges(network, method=MSE())
    data_free_ranges(network, {})
    nearest, told = network.copy(), []
    QUICK.round(network, seen, Setting(held_back=1, on_layer=lambda *args: told.append(args)))
    records = [record for record in network.records if record.step == "round"]
    assert [(done, record) for done, _, record in told] == list(enumerate(records, 1))
    for record in records:
        if isinstance(record, Applied):
            assert record.numbers["objective after"] <= record.numbers["objective before"]
    errors = [
        sum(
            float((outputs(captured(name), *x)[0] - outputs(n, *x)[0]).square().sum())
            for x, _ in unseen
        )
        for n in (network, nearest)
    ]
    assert errors[0] < errors[1]


def test_the_objective_is_the_error_behind_the_activation_with_all_before_quantized():
    batches = data(3, 6, 6)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU6(), nn.Conv2d(5, 4, 3), nn.Hardswish())
    network = capture(module.double(), batches[0][0])
    place(network, PER_TENSOR)
    weight_ranges(network, method=MSE())
    replace(QUICK, iterations=50).round(network, batches, Setting(held_back=1))
    ((x,), _) = batches[-1]
    with torch.no_grad():
        error = (network(x) - module(x)).square().sum(1).mean()
    assert network.records[-1].numbers["objective after"] == pytest.approx(float(error))


def test_the_same_seed_gives_the_same_weights_and_no_other_generator_is_touched():
    batches, found = data(6, 6, 7), []
    state = None
    for seed in (3, 3):
        network = single(nn.Conv2d(6, 4, 3), batches)
        state = torch.random.get_rng_state()
        replace(QUICK, iterations=20, seed=seed).round(network, batches)
        assert torch.equal(state, torch.random.get_rng_state())
        found.append(only(network).weight)
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(dtype):
    batches = [((x.to(dtype),), {}) for (x,), _ in data(6)]
    network = single(nn.Linear(6, 8), batches)
    QUICK.round(network, batches)
    record = network.records[-1]
    assert isinstance(record, Applied)
    assert record.numbers["objective after"] < 0.9 * record.numbers["objective before"]
    assert only(network).weight.dtype == dtype


def test_what_makes_no_difference_stays_at_the_nearest():
    """Weights of a dead input, and those of an output that the ReLU never lets through."""
    batches = data(6)
    for (x,), _ in batches:
        x[:, 2] = 0
    module = nn.Linear(6, 8)
    network = single(module, batches, then=nn.ReLU())
    layer = only(network)
    layer.set_bias(layer.bias.detach() - 100 * (torch.arange(8) == 5))
    nearest, _ = integers(network)
    QUICK.round(network, batches)
    rounded, _ = integers(network)
    assert torch.equal(rounded[:, 2], nearest[:, 2])
    assert torch.equal(rounded[5], nearest[5])
    assert not torch.equal(rounded, nearest)


def test_saturated_weights_stay_at_the_end_of_the_grid():
    batches = data(6)
    network = single(nn.Linear(6, 8), batches)
    quantizer = weight_quantizer(only(network))
    quantizer.set_scale(quantizer.scale / 3, quantizer.zero_point)
    nearest, ratio = integers(network)
    QUICK.round(network, batches)
    rounded, _ = integers(network)
    outside = (ratio > 3) | (ratio < -4)
    assert bool(outside.any())
    assert torch.equal(rounded[outside], nearest[outside])
    assert not torch.equal(rounded, nearest)


def test_samples_held_back_refuse_what_holds_for_the_others_only():
    """Inputs that correlate, and then some that do not: for those, nearest rounding is the best."""
    batches = [*data(8, batches=1), *data(8, batches=1, batch=256, common=0.0)]
    seen, checked = (single(nn.Linear(8, 4), batches) for _ in range(2))
    before = only(seen).weight.detach().clone()
    QUICK.round(seen, batches[:1])
    QUICK.round(checked, batches, Setting(held_back=1))
    assert isinstance(seen.records[-1], Applied)
    assert isinstance(checked.records[-1], Skipped)
    assert "nearest" in checked.records[-1].reason
    assert torch.equal(only(checked).weight, before)


def test_batches_of_several_shapes():
    batches = [*data(4, 6, batches=1), *data(9, 6, batches=2)]
    network = single(nn.Linear(6, 8), batches)
    QUICK.round(network, batches)
    record = network.records[-1]
    assert isinstance(record, Applied)
    assert record.numbers["objective after"] < 0.9 * record.numbers["objective before"]


def test_layers_in_float_are_left_alone():
    network = captured("decoder")
    place(network, DFQ_PAPER.with_bits(3, 8))
    weight_ranges(network)
    before = network.module.state_dict()["up.weight"].clone()
    case = ZOO["decoder"]
    replace(QUICK, iterations=2).round(network, [(case.args(torch.float64, batch=4), {})])
    assert "up" in [record.layer for record in network.records if isinstance(record, Skipped)]
    assert torch.equal(network.module.state_dict()["up.weight"], before)


@pytest.mark.parametrize("warm_start", [0.0, 1.0])
def test_the_regularizer_acts_after_the_warm_start(warm_start):
    """So strong that nothing else counts, it takes every weight to its nearest side."""
    batches = data(6)
    network = single(nn.Linear(6, 8), batches)
    nearest, _ = integers(network)
    strong = replace(QUICK, regularization=1e6, beta=(2.0, 2.0), warm_start=warm_start)
    strong.round(network, batches)
    assert torch.equal(integers(network)[0], nearest) == (warm_start == 0)


@pytest.mark.parametrize("least", [10.0, 0.0])
def test_weights_are_decided_where_outputs_are_large(least):
    """λ grows with the error; if it does not, most weights end between up and down."""
    batches = [((64 * x,), {}) for (x,), _ in data(8)]
    network = single(nn.Linear(8, 4), batches)
    replace(QUICK, iterations=400, min_regularization=least).round(network, batches)
    undecided = network.records[-1].numbers["undecided"]
    assert undecided < 0.05 if least else undecided > 0.3


def test_beta_falls_after_the_warm_start():
    options = AdaRound(iterations=100)
    assert all(options.beta_at(step) is None for step in range(20))
    betas = [options.beta_at(step) for step in range(20, 100)]
    assert betas[0] == 20
    assert betas == sorted(betas, reverse=True)
    assert 2 < betas[-1] < 2.01
    assert AdaRound(iterations=100, warm_start=1.0).beta_at(99) is None
