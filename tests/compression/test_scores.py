"""Scores of the units of a network."""

import pytest
import torch
from torch import nn

from tersor.compression.covariance import input_covariances
from tersor.compression.groups import channel_groups
from tersor.compression.prune import prune_groups
from tersor.compression.scores import (
    batchnorm,
    contributed,
    gradient_scores,
    lasso_scores,
    magnitude,
    readers,
    scorer,
)
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.simplify import fold
from tersor.names import SCORES
from tests.captured import captured, outputs
from tests.zoo import ZOO


def folded(name):
    network = captured(name)
    fold(network)
    return network


def samples(name, count=4, size=16):
    return [(ZOO[name].args(torch.float64, size, seed=i), {}) for i in range(count)]


def scores(network, name):
    """Every kind of score, for each group."""
    groups, data = channel_groups(network).found, samples(name)
    kinds = {kind: scorer(network, groups, data, kind) for kind in SCORES if kind != "batchnorm"}
    return {
        kind: {group.name: score(group, max(1, len(group) // 2)) for group in groups}
        for kind, score in kinds.items()
    }


@pytest.mark.parametrize("name", ["resnet", "shufflenet", "grouped", "mobilenetv3", "vgg"])
def test_every_unit_has_a_score(name):
    network = folded(name)
    for kind, of_groups in scores(network, name).items():
        for group in channel_groups(network).found:
            score = of_groups[group.name]
            assert score.shape == (len(group),), kind
            assert bool((score >= 0).all())
            assert bool(score.isfinite().all())


def dead():
    """Unit 1 is never read, and unit 3 is always zero."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3)).double()
    model[0].weight.data[3], model[0].bias.data[3] = 0, -1
    model[2].weight.data[:, 1] = 0
    return capture(model, torch.randn(2, 3, 8, 8).double())


def test_units_that_add_nothing_have_no_score():
    network = dead()
    (group,) = channel_groups(network).found
    data = [(torch.randn(8, 3, 8, 8, dtype=torch.float64),) for _ in range(3)]
    data = [(args, {}) for args in data]
    for kind in ("taylor", "fisher"):
        score = gradient_scores(network, [group], data, kind)[group.name]
        assert score[[1, 3]].tolist() == [0, 0]
        assert bool((score[[0, 2, 4]] > 0).all())
    covariances = input_covariances(network, readers(group), data, positions=200)
    for count in (1, 2, 3):
        keep = group.best(lasso_scores(contributed(group, covariances), count), count)
        assert int(keep.sum()) == count
        assert not bool(keep[[1, 3]].any())


def test_fisher_is_half_the_squared_error_where_outputs_are_linear_in_a_unit():
    network = dead()
    (group,) = channel_groups(network).found
    args = (torch.randn(64, 3, 3 + 2, 3 + 2, dtype=torch.float64),)
    data = [(args, {})] * 200
    score = gradient_scores(network, [group], data, "fisher")[group.name]
    for unit in (0, 2, 4):
        pruned = network.copy()
        prune_groups(pruned, {group.name: torch.arange(5) != unit})
        error = (outputs(pruned, *args)[0] - outputs(network, *args)[0]).square().flatten(1).sum(1)
        assert abs(float(score[unit] / (error.mean() / 2)) - 1) < 0.1


def test_a_loss_of_ones_own():
    network = dead()
    (group,) = channel_groups(network).found
    data = [((torch.randn(8, 3, 8, 8, dtype=torch.float64),), {})]
    seen = []

    def loss(y, number):
        seen.append(number)
        return y[0].square().sum() / 2

    score = gradient_scores(network, [group], data, "taylor", loss)[group.name]
    assert seen == [0]
    assert bool((score[[0, 2, 4]] > 0).all())


def test_batchnorm_scores_are_the_same_folded_and_not():
    plain = captured("resnet")
    network = folded("resnet")
    for group, same in zip(channel_groups(plain).found, channel_groups(network).found, strict=True):
        assert torch.allclose(batchnorm(plain, group), batchnorm(network, same))
    with pytest.raises(InvalidInputError, match="use scores='magnitude'"):
        batchnorm(dead(), channel_groups(dead()).found[0])


def test_magnitude_does_not_depend_on_the_scale_of_a_layer():
    network = dead()
    (group,) = channel_groups(network).found
    before = magnitude(network, group)
    first = group.producers[0].layer
    network.replace_tensor(first.weight_node, first.weight.detach() * 7)
    assert torch.allclose(magnitude(network, group), before)
    assert before.argmin() in (1, 3)
