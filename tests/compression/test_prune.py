"""Pruning: the network computes what zeros in it compute, on every network of the test zoo."""

import pytest
import torch
from torch import nn

import tersor
from tersor.compression.groups import channel_groups
from tersor.compression.prune import prune_groups
from tersor.distributions.propagation import propagate
from tersor.errors import InvalidInputError, InvalidModelError
from tersor.frontend.capture import capture
from tersor.graph.network import Applied
from tersor.graph.simplify import fold, simplify
from tersor.report.describe import describe
from tests.captured import captured, outputs
from tests.compression.masks import check_pruning, masked, random_keep
from tests.zoo import ZOO

# Attention, channels that are also inputs or outputs, tied to an embedding, set one by one.
REFUSED = {
    "manual_attention",
    "causal_attention",
    "shared_unit",
    "two_inputs",
    "tied_embedding",
    "functional",
}


def folded(name):
    network = captured(name)
    simplify(network)
    return network


@pytest.mark.parametrize("name", ZOO)
def test_every_network_computes_what_zeros_compute_or_says_why(name):
    network = folded(name)
    groups = channel_groups(network)
    assert bool(groups.found) == (name not in REFUSED)
    free = {port.layer.name for group in groups.found for port in group.producers}
    reasons = {record.layer: record.reason for record in groups.refused}
    assert {row.name for row in describe(network)} <= free | reasons.keys()
    check_pruning(network, random_keep(network))


@pytest.mark.parametrize("name", ["shufflenet", "densenet", "decoder"])
def test_with_batch_norms_in_place(name):
    network = captured(name)
    pruned = check_pruning(network, random_keep(network))
    fold(pruned)
    assert sum(r.parameters for r in describe(pruned)) < sum(
        r.parameters for r in describe(network)
    )


@pytest.mark.parametrize("name", ["grouped", "vgg", "shufflenet"])
def test_one_channel_is_left(name):
    network = folded(name)
    pruned = check_pruning(network, random_keep(network, 0.0))
    for row, old in zip(describe(pruned), describe(network), strict=True):
        assert row.macs <= old.macs


def test_groups_of_a_residual_network():
    groups = channel_groups(folded("resnet"))
    names = {group.name: len(group) for group in groups.found}
    assert names == {"0": 8, "3.branch.0": 8, "4.branch.0": 12, "4.branch.3": 12}
    assert [port.layer.name for port in groups["0"].producers] == ["0", "3.branch.3"]
    assert [port.layer.name for port in groups["4.branch.3"].producers] == [
        "4.branch.3",
        "4.shortcut.0",
    ]


def test_pruning_again_finds_what_is_left():
    network = folded("densenet")
    first = random_keep(network, 0.7)
    for name, keep in first.items():
        (record,) = prune_groups(network, {name: keep})
        assert isinstance(record, Applied)
        assert record.numbers == {"units": len(keep), "kept": float(keep.sum())}
    assert network.records[-len(first) :] == [r for r in network.records if r.step == "prune"]
    check_pruning(network, random_keep(network, 0.5))


def test_nothing_goes():
    network = folded("shufflenet")
    before = network.copy()
    prune_groups(network, random_keep(network, 1.0))
    x = network.args[0]
    assert torch.equal(network(x), before(x))


def test_what_cannot_be_done_is_refused():
    network = folded("resnet")
    with pytest.raises(InvalidInputError, match="no group of channels 'zero'; groups: 0, 3"):
        prune_groups(network, {"zero": torch.ones(8, dtype=torch.bool)})
    with pytest.raises(InvalidInputError, match="has 8 units"):
        prune_groups(network, {"0": torch.ones(7, dtype=torch.bool)})
    with pytest.raises(InvalidInputError, match="would lose all its channels"):
        prune_groups(network, {"0": torch.zeros(8, dtype=torch.bool)})
    quantized = tersor.quantize(network).network
    with pytest.raises(InvalidModelError, match="prune the float network"):
        prune_groups(quantized, {"0": torch.ones(8, dtype=torch.bool)})


def test_expected_values_of_what_goes_keep_the_means():
    case = ZOO["resnet"]
    network = capture(case.make(), case.args())
    fold(network)
    keep = random_keep(network, 0.8)
    plain, corrected = network.copy(), network.copy()
    prune_groups(plain, keep)
    prune_groups(corrected, keep, propagate(network))
    (x,) = case.args(batch=64, seed=2)
    want = outputs(network, x)[0]
    errors = [float((outputs(n, x)[0] - want).mean(0).norm()) for n in (plain, corrected)]
    assert errors[1] < 0.5 * errors[0]


def test_a_constant_channel_is_made_up_for_exactly():
    """A channel whose weights are zero always holds relu(bias)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    model[1].weight.data[2] = 0
    model[1].bias.data[2] = 0.7
    network = capture(model.double(), torch.randn(2, 3, 5, 5).double())
    fold(network)
    pruned = network.copy()
    prune_groups(pruned, {"0": torch.tensor([True, True, False, True])}, propagate(network))
    x = network.args[0]
    assert torch.allclose(pruned(x), network(x), rtol=0, atol=1e-12)


def test_masks_are_not_what_pruning_does_itself():
    """The network that pruning is compared with differs from the original."""
    network = folded("resnet")
    x = network.args[0]
    assert not torch.allclose(masked(network, random_keep(network))(x), network(x), rtol=0.1)
