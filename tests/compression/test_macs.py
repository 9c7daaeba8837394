"""MACs by units, and choosing units for given MACs."""

import pytest
import torch

from tersor.compression.budget import TooSmallError
from tersor.compression.counts import Counts
from tersor.compression.groups import channel_groups
from tersor.compression.prune import prune_groups
from tersor.compression.scores import magnitude
from tersor.compression.unit_choice import fit_macs, per_mac
from tersor.graph.simplify import fold
from tersor.report.describe import describe
from tests.captured import captured
from tests.compression.masks import random_keep

NAMES = ["resnet", "shufflenet", "mobilenetv3", "densenet", "grouped", "decoder", "vgg", "conv1d"]


def folded(name):
    network = captured(name)
    fold(network)
    return network


def macs(network):
    return sum(row.macs for row in describe(network))


@pytest.mark.parametrize("name", NAMES)
def test_expected_macs_are_exact_where_nothing_is_random(name):
    network = folded(name)
    count = Counts(network)
    assert count.whole.macs == macs(network)
    keep = random_keep(network, 0.6)
    pruned = network.copy()
    prune_groups(pruned, keep)
    assert abs(float(count.expected(keep)) * count.whole.macs - macs(pruned)) < 1e-3


def test_marginal_macs_are_those_of_one_unit():
    network = folded("shufflenet")
    count, groups = Counts(network), channel_groups(network).found
    for name, costs in count.marginal().items():
        keep = {g.name: torch.ones(len(g), dtype=torch.bool) for g in groups}
        keep[name][1] = False
        alone = 1 - float(count.expected(keep))
        # Both ends of a layer may be of one group: then the product of two units counts twice.
        assert alone <= float(costs[1]) + 1e-6
        assert alone > 0.8 * float(costs[1])


@pytest.mark.parametrize("target", [0.9, 0.5, 0.3])
@pytest.mark.parametrize("name", ["resnet", "mobilenetv3", "vgg"])
def test_units_fit_and_no_other_does(name, target):
    network = folded(name)
    count, groups = Counts(network), channel_groups(network).found
    scores = per_mac({group.name: magnitude(network, group) for group in groups}, count)
    keep = fit_macs(scores, count, target)
    pruned = network.copy()
    prune_groups(pruned, keep)
    share = macs(pruned) / macs(network)
    assert share <= target + 1e-6
    for mask in keep.values():
        for unit in (~mask).nonzero().flatten().tolist():
            mask[unit] = True
            assert share > target - 1e-3 or float(count.expected(keep)) > target
            mask[unit] = False


def test_high_scores_stay():
    network = folded("plain")
    groups = channel_groups(network).found
    scores = {group.name: torch.arange(len(group)).float() for group in groups}
    keep = fit_macs(scores, Counts(network), 0.5)
    for mask in keep.values():
        assert bool(mask[-1])
        assert not bool(mask[0])


def least_of(groups):
    """One channel everywhere."""
    zeros = ((g, torch.zeros(len(g), dtype=torch.bool)) for g in groups)
    return {group.name: group.complete(none, torch.ones(len(group))) for group, none in zeros}


def test_what_cannot_be_reached():
    network = folded("plain")
    groups = channel_groups(network).found
    scores = {group.name: torch.ones(len(group)) for group in groups}
    count = Counts(network)
    with pytest.raises(TooSmallError) as refused:
        fit_macs(scores, count, 0.01)
    assert refused.value.least == round(count.whole.macs * float(count.expected(least_of(groups))))
