"""Cross-layer equalization against the paper's closed form, and what it leaves behind."""

import math
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tersor.channels.partition import Channels, channels
from tersor.core.equalizing_scale import equalizing_scale, over_relaxation
from tersor.frontend.capture import capture
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network, Skipped
from tersor.graph.simplify import fold
from tersor.passes.equalize import Equalize, equalize
from tersor.passes.rescale import rescale
from tests.captured import assert_same_function, captured, outputs
from tests.zoo import ZOO

EXACT = Equalize(tolerance=1e-7, sweeps=5000)
# Networks with free classes of every kind: conv, depthwise, grouped, transposed, linear.
FREE = (
    "plain", "vgg", "grouped", "leaky", "separable", "resnet", "mobilenetv2", "shufflenet",
    "decoder", "perceptron", "conv1d", "dead_channels",
)  # fmt: skip

ranges = st.lists(
    st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-2, 1e2)),
    min_size=1,
    max_size=8,
)


# --- the closed form ----------------------------------------------------------------------------


@given(ranges)
def test_two_layers_get_the_geometric_mean_of_their_ranges(values):
    first, second, _ = torch.tensor(values, dtype=torch.float64).unbind(1)
    scale = equalizing_scale(first[None], second[None])
    torch.testing.assert_close(scale, (first / second).sqrt())
    torch.testing.assert_close(first / scale, (first * second).sqrt())
    torch.testing.assert_close(second * scale, (first * second).sqrt())


def total_precision(first: Tensor, second: Tensor, scale: Tensor) -> float:
    """Σ p¹ p², where the precision of a channel is its share of the layer's range (eq. 9)."""
    first, second = first / scale, second * scale
    return float((first / first.max() * second / second.max()).sum())


@given(ranges)
def test_no_other_scale_gives_more_precision(values):
    first, second, other = torch.tensor(values, dtype=torch.float64).unbind(1)
    best = total_precision(first, second, equalizing_scale(first[None], second[None]))
    assert total_precision(first, second, other) <= best * (1 + 1e-12)


@given(ranges, st.integers(1, 3), st.integers(1, 3))
def test_several_layers_meet_in_geometric_means(values, producers, consumers):
    generator = torch.Generator().manual_seed(len(values))
    shape = torch.tensor(values, dtype=torch.float64)[:, 0]
    made = shape * torch.rand(producers, len(shape), generator=generator).add(0.1)
    used = torch.rand(consumers, len(shape), generator=generator, dtype=torch.float64).add(0.1)
    scale = equalizing_scale(made, used)
    after = (made / scale).log().mean(0), (used * scale).log().mean(0)
    torch.testing.assert_close(*after)


def test_dead_channels_get_the_typical_range():
    made = torch.tensor([[4.0, 0.0, 9.0, 0.0, 1.0]])
    used = torch.tensor([[1.0, 5.0, 4.0, 0.0, 0.0]])
    scale = equalizing_scale(made, used)
    assert (made / scale)[0].tolist() == pytest.approx([2, 0, 6, 0, 2])  # median of 2 and 6: 2
    assert (used * scale)[0].tolist() == pytest.approx([2, 2, 6, 0, 0])
    assert scale[3] == 1


def test_a_zero_in_one_branch_of_a_join_is_no_dead_channel():
    made, used = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0]])
    assert equalizing_scale(made, used).tolist() == [2]


def test_nothing_moves_if_all_channels_are_dead():
    assert equalizing_scale(torch.zeros(1, 3), torch.ones(1, 3)).tolist() == [1, 1, 1]


@given(ranges, st.floats(0, 0.5))
def test_activations_and_weights_share_the_imbalance(values, strength):
    """log s = (1 − 2α) log a + α log(r¹ / r²), up to a factor for all channels together."""
    first, second, carried = torch.tensor(values, dtype=torch.float64).unbind(1)
    drift = strength * (first / second).log() - 2 * strength * carried.log()
    near = (drift - drift.median()).abs() <= math.log(8)
    scale = equalizing_scale(first[None], second[None], carried, strength)
    if strength < 0.5:
        wanted = (1 - 2 * strength) * carried.log() + strength * (first / second).log()
        offset = (scale.log() - wanted)[near]
        torch.testing.assert_close(offset, offset[:1].expand_as(offset))
    else:
        torch.testing.assert_close(scale, (first / second).sqrt())


def test_no_channel_strays_from_the_activations_by_more_than_three_bits():
    carried = torch.ones(5)
    made = torch.tensor([1e-12, 1.0, 1.0, 1.0, 1e12])
    scale = equalizing_scale(made[None], torch.ones(1, 5), carried, 0.25)
    assert scale.tolist() == pytest.approx([1 / 8, 1, 1, 1, 8])


def test_unknown_activations_count_as_typical():
    carried = torch.tensor([2.0, 0.0, 8.0, 4.0])
    scale = equalizing_scale(torch.ones(1, 4), torch.ones(1, 4), carried, 0.0)
    assert scale.tolist() == pytest.approx([2, 4, 8, 4])
    unknown = equalizing_scale(torch.full((1, 2), 4.0), torch.ones(1, 2), torch.zeros(2), 0.0)
    assert unknown.tolist() == [2, 2]  # nothing is known: the paper's rule


def test_over_relaxation_is_that_of_a_chain():
    assert over_relaxation(1) == pytest.approx(1)
    factors = [over_relaxation(n) for n in (1, 2, 5, 50, 5000)]
    assert factors == sorted(factors)
    assert factors[-1] < 2


# --- networks -----------------------------------------------------------------------------------


def folded(name: str) -> Network:
    network = captured(name)
    fold(network)
    return network


def sequential(*modules: nn.Module, inputs=(3, 4, 4)) -> Network:
    torch.manual_seed(0)
    for module in modules:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return capture(nn.Sequential(*modules).double(), torch.randn(2, *inputs).double())


def channel_range(layer: Layer, channel: int, side: str) -> float:
    """max |W| of one channel, straight from the stored weight."""
    weight, groups = layer.weight.detach().abs(), layer.groups
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    is_row = (side == "in") == layer.is_transposed  # of the stored weight
    if is_row:
        return float(weight[channel].max())
    group, column = divmod(channel, columns)
    return float(weight[group * rows : (group + 1) * rows, column].max())


def class_ranges(partition: Channels) -> dict[int, tuple[list[float], list[float]]]:
    """Free class → its range in each layer that produces it, and in each that consumes it."""
    found = defaultdict(lambda: ([], []))
    for side, ports in enumerate((partition.producers, partition.consumers)):
        for port in ports:
            for index in set(port.classes.tolist()) - partition.frozen.keys():
                positions = (port.classes == index).nonzero().flatten().tolist()
                each = [channel_range(port.layer, i, ("out", "in")[side]) for i in positions]
                found[index][side].append(max(each))
    return {index: both for index, both in found.items() if all(both)}


def geometric_mean(values: list[float]) -> float:
    alive = [math.log(value) for value in values if value > 0]
    return math.exp(sum(alive) / len(alive))


@pytest.mark.parametrize("name", FREE)
def test_every_free_class_ends_with_equal_ranges(name):
    network = folded(name)
    equalize(network, EXACT)
    found = class_ranges(channels(network))
    assert found
    alive = {index: both for index, both in found.items() if all(map(any, both))}
    for made, used in alive.values():
        assert geometric_mean(made) == pytest.approx(geometric_mean(used), rel=1e-5)
    assert len(alive) == len(found) or name == "dead_channels"


@pytest.mark.parametrize("name", FREE)
def test_a_second_run_changes_nothing(name):
    network = folded(name)
    equalize(network, EXACT)
    before = {layer.name: layer.weight.clone() for layer in layers(network)}
    equalize(network, EXACT)
    for layer in layers(network):
        torch.testing.assert_close(layer.weight, before[layer.name], rtol=1e-5, atol=0)


def test_two_layers_of_a_network():
    network = sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1))
    first, second = (layer.weight.detach().clone() for layer in layers(network))
    bias = next(layers(network)).bias.detach().clone()
    scale = (first.abs().amax((1, 2, 3)) / second.abs().amax((0, 2, 3))).sqrt()
    equalize(network)
    made, used = layers(network)
    torch.testing.assert_close(made.weight, first / scale[:, None, None, None])
    torch.testing.assert_close(made.bias, bias / scale)
    torch.testing.assert_close(used.weight, second * scale[:, None, None])


def test_what_batch_norm_left_is_rescaled_with_the_weights():
    network = folded("plain")
    before = dict(network.statistics)
    biases = {layer.node.name: layer.bias.detach().clone() for layer in layers(network)}
    equalize(network)
    for layer in layers(network):
        if layer.node.name in before:
            factor = layer.bias.detach() / biases[layer.node.name]
            old, new = before[layer.node.name], network.statistics[layer.node.name]
            torch.testing.assert_close(new.mean, old.mean * factor)
            torch.testing.assert_close(new.std, old.std * factor)
            assert not torch.allclose(factor, torch.ones_like(factor))


# --- options ------------------------------------------------------------------------------------


def clipped() -> Network:
    """ReLU6 between two layers, driven well into its clip."""
    network = sequential(nn.Conv2d(3, 6, 1), nn.ReLU6(), nn.Conv2d(6, 2, 1))
    layer = next(layers(network))
    layer.set_grouped_weight(layer.grouped_weight() * torch.logspace(0, 2, 6)[:, None, None, None])
    return network


def test_relu6_per_channel_is_exact():
    network = clipped()
    before = network.copy()
    equalize(network)
    assert_same_function(network, before.module, [(network.args, {})], tolerance=1e-12)
    targets = {str(node.target) for node in network.nodes()}
    assert "aten.minimum.default" in targets
    assert not targets & {"aten.relu6.default", "aten.hardtanh.default"}
    (clip,) = channels(network).clips
    assert clip.node.target is torch.ops.aten.minimum.default


def test_relu6_as_relu_is_inexact_only_where_it_clipped():
    network = clipped()
    before = network.copy()
    equalize(network, Equalize(clipped="relu"))
    (record,) = [r for r in network.records if isinstance(r, Applied) and "dropped" in r.what]
    assert "6" in record.what
    assert channels(network).clips == []
    x, layer = network.args[0], next(layers(before))
    reached = F.conv2d(x, layer.weight, layer.bias)
    calm = (reached <= 6).all(1, keepdim=True)
    assert 0 < calm.double().mean() < 1
    want, got = outputs(before, x)[0], outputs(network, x)[0]
    same = torch.isclose(want, got, rtol=1e-9, atol=1e-9).all(1, keepdim=True)
    assert same[calm].all()
    assert not same[~calm].all()


def test_one_bound_for_all_channels_costs_nothing():
    network = clipped()
    before = network.copy()
    scramble(network, 3)
    assert any(node.target is torch.ops.aten.minimum.default for node in network.nodes())
    equalize(network, Equalize(clipped="common"))
    assert_same_function(network, before.module, [(network.args, {})], tolerance=1e-10)
    targets = {node.target for node in network.nodes()}
    assert torch.ops.aten.minimum.default not in targets
    assert torch.ops.aten.relu.default not in targets
    (clip,) = channels(network).clips
    assert clip.node.target is torch.ops.aten.hardtanh.default


def test_one_bound_for_all_leaves_a_fresh_relu6_alone():
    network = clipped()
    before = [layer.weight.detach().clone() for layer in layers(network)]
    equalize(network, Equalize(clipped="common"))
    assert all(
        torch.equal(layer.weight, w) for layer, w in zip(layers(network), before, strict=True)
    )


@pytest.mark.parametrize("clipping", ["per-channel", "common"])
@pytest.mark.parametrize("strength", [0.0, 0.25])
@pytest.mark.parametrize("name", ["plain", "separable", "resnet", "mobilenetv2", "shufflenet"])
def test_every_option_keeps_the_function(name, strength, clipping):
    network = folded(name)
    before = network.copy()
    scramble(network, 0)
    equalize(network, Equalize(strength=strength, clipped=clipping))
    assert_same_function(network, before.module, [(network.args, network.kwargs)], tolerance=1e-10)


def test_at_strength_zero_all_activations_get_the_same_range():
    network = folded("plain")
    equalize(network, Equalize(strength=0.0))
    first, second, third, _ = layers(network)
    for layer in (first, second, third):
        notes = network.statistics[layer.node.name]
        reach = notes.mean.abs() + 6 * notes.std
        torch.testing.assert_close(reach, reach[:1].expand_as(reach))


@pytest.mark.parametrize("strength", [0.0, 0.25])
def test_a_rescaled_network_comes_back_at_any_strength(strength):
    options = Equalize(strength=strength, tolerance=1e-7, sweeps=5000)
    network = folded("resnet")
    other = network.copy()
    scramble(other, 1)
    equalize(network, options)
    equalize(other, options)
    for layer, same in zip(layers(network), layers(other), strict=True):
        torch.testing.assert_close(same.weight, layer.weight, rtol=1e-4, atol=0)


def test_kept_clips_leave_their_layers_alone():
    network = clipped()
    before = [layer.weight.detach().clone() for layer in layers(network)]
    equalize(network, Equalize(clipped="keep"))
    assert all(
        torch.equal(layer.weight, w) for layer, w in zip(layers(network), before, strict=True)
    )
    reasons = {record.reason for record in network.records if isinstance(record, Skipped)}
    assert any("clips at a fixed bound" in reason for reason in reasons)


def test_joins_can_be_left_alone():
    network = folded("resnet")
    equalize(network, Equalize(joins=False))
    applied = {r.layer for r in network.records if isinstance(r, Applied) and r.step == "equalize"}
    assert applied == {
        "3.branch.0 → 3.branch.3",
        "4.branch.0 → 4.branch.3",
    }
    skipped = [r for r in network.records if isinstance(r, Skipped) and "joins" in r.reason]
    assert {record.layer for record in skipped} == {"0, 3.branch.3", "4.branch.3, 4.shortcut.0"}


def test_joins_are_equalized_together_by_default():
    network = folded("resnet")
    equalize(network)
    applied = {r.layer for r in network.records if isinstance(r, Applied) and r.step == "equalize"}
    assert "0, 3.branch.3 → 3.branch.0, 4.branch.0, 4.shortcut.0" in applied


def test_records_tell_what_was_scaled_and_what_was_not():
    network = folded("separable")
    equalize(network)
    records = [record for record in network.records if record.step == "equalize"]
    done = [record for record in records if isinstance(record, Applied)]
    assert len(done) == 5
    for record in done:
        assert record.layer.count(" → ") == 1
        assert record.numbers["channels"] == 8
        assert 0 < record.numbers["smallest scale"] <= record.numbers["largest scale"]
    reasons = {record.layer: record.reason for record in records if isinstance(record, Skipped)}
    assert reasons == {
        "0.layer0": "it is an input of the network",
        "3": "it is an output of the network",
    }


def test_a_layer_with_a_shared_bias_gets_its_own():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.b.bias = self.a.bias

        def forward(self, x):
            return self.c(F.relu(self.b(F.relu(self.a(x)))))

    torch.manual_seed(0)
    model = Shared().double()
    network = capture(model, torch.randn(2, 4).double())
    equalize(network)
    assert_same_function(network, model, [(network.args, {})], tolerance=1e-12)
    biases = [layer.bias for layer in layers(network)]
    assert not torch.equal(biases[0], biases[1])


# --- one function, one result -------------------------------------------------------------------


def scramble(network: Network, seed: int) -> None:
    """Rescale every class between two layers, log-uniformly in [1/32, 32]."""
    partition = channels(network)
    generator = torch.Generator().manual_seed(seed)
    scale = torch.ones(partition.count, dtype=torch.float64)
    for index in class_ranges(partition):
        scale[index] = 32 ** (2 * torch.rand((), generator=generator, dtype=torch.float64) - 1)
    rescale(network, partition, scale)


def four_layers() -> Network:
    return sequential(
        *(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU()),
        *(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5)),
        inputs=(10,),
    )


@pytest.mark.parametrize("name", [None, "resnet", "separable", "shufflenet", "dead_channels"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rescaled_network_comes_back_to_the_same_weights(name, seed):
    """The fixed point does not depend on where the sweeps start."""
    network = four_layers() if name is None else folded(name)
    other = network.copy()
    scramble(other, seed)
    equalize(network, EXACT)
    equalize(other, EXACT)
    for layer, same in zip(layers(network), layers(other), strict=True):
        torch.testing.assert_close(same.weight, layer.weight, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ZOO)
def test_default_options_converge(name):
    """Running on does not move any scale by much more than the tolerance."""
    network = folded(name)
    equalize(network)
    before = {layer.node.name: layer.weight_node for layer in layers(network)}
    stored = {key: network.tensor(node) for key, node in before.items() if node.op == "get_attr"}
    equalize(network, EXACT)
    for layer in layers(network):
        if layer.node.name in stored:
            old = stored[layer.node.name]
            torch.testing.assert_close(layer.weight, old, rtol=2e-2, atol=0)
