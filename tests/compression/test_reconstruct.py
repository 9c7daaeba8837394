"""Reconstruction: exact where it can be, and better than pruning alone on new data."""

import pytest
import torch
from torch import nn

from tersor.compression.groups import channel_groups
from tersor.compression.prune import prune_groups
from tersor.compression.reconstruct import Reconstruct, reconstruct
from tersor.compression.scores import magnitude
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Skipped
from tersor.graph.simplify import fold
from tests.captured import captured, outputs
from tests.zoo import ZOO


def folded(name):
    network = captured(name)
    fold(network)
    return network


def samples(name, count=8, seed=0):
    case = ZOO[name]
    return [
        (case.args(torch.float64, 32, seed + i), case.kwargs(torch.float64, 32, seed + i))
        for i in range(count)
    ]


def smallest(network, share):
    """Keep the largest units of every group."""
    return {
        group.name: group.best(magnitude(network, group), round(share * len(group)))
        for group in channel_groups(network).found
    }


def error(network, original, name):
    """Relative squared error on samples that were not fitted to."""
    total = norm = 0.0
    for args, kwargs in samples(name, 4, seed=100):
        both = (outputs(net, *args, **kwargs) for net in (original, network))
        for want, got in zip(*both, strict=True):
            total += float((want - got).square().sum())
            norm += float((want - want.mean(0)).square().sum())
    return total / norm


@pytest.mark.parametrize(
    "name", ["plain", "resnet", "shufflenet", "mobilenetv2", "mobilenetv3", "densenet", "vgg"]
)
def test_new_outputs_come_closer_to_those_of_the_whole_network(name):
    original = folded(name)
    keep = smallest(original, 0.75)
    pruned = original.copy()
    prune_groups(pruned, keep)
    fitted = pruned.copy()
    reconstruct(fitted, original, keep, samples(name))
    assert error(fitted, original, name) < 0.5 * error(pruned, original, name)


def test_with_batch_norms_in_place():
    original = captured("resnet")
    keep = smallest(original, 0.75)
    pruned = original.copy()
    prune_groups(pruned, keep)
    fitted = pruned.copy()
    reconstruct(fitted, original, keep, samples("resnet"))
    assert error(fitted, original, "resnet") < 0.7 * error(pruned, original, "resnet")


def twins():
    """Units 1 and 3 are copies of others: nothing is lost without them."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 36, 3),
    ).double()
    for layer in (model[0], model[2]):
        for copy in (1, 3):
            layer.weight.data[copy] = layer.weight.data[copy - 1]
            layer.bias.data[copy] = layer.bias.data[copy - 1]
    return capture(model, torch.randn(2, 3, 6, 6).double())


def test_copies_are_made_up_for_exactly():
    original = twins()
    keep = {name: torch.tensor([True, False, True, False]) for name in ("0", "2")}
    data = [((torch.randn(64, 3, 6, 6, dtype=torch.float64),), {}) for _ in range(8)]
    pruned = original.copy()
    prune_groups(pruned, keep)
    options = Reconstruct(damping=1e-12)
    reconstruct(pruned, original, keep, data, options)
    x = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    assert torch.allclose(pruned(x), original(x), atol=1e-6)
    found = [record for record in pruned.records if record.step == "reconstruct"]
    assert [record.layer for record in found] == ["2", "5"]
    for record in found:
        assert isinstance(record, Applied)
        assert record.numbers["error after"] < 1e-9 < record.numbers["error before"]


def test_records_and_what_is_given():
    original = folded("resnet")
    keep = smallest(original, 0.5)
    before = {name: x.clone() for name, x in original.module.state_dict().items()}
    pruned, told = original.copy(), []
    prune_groups(pruned, keep)
    reconstruct(pruned, original, keep, samples("resnet"), on_layer=lambda *n: told.append(n))
    after = original.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    names = [layer.name for layer in layers(pruned)]
    assert [(n, record.layer) for n, _, record in told] == list(enumerate(names, 1))[1:]
    for record in (record for _, _, record in told):
        assert record.numbers["error after"] <= record.numbers["error before"]


def test_layers_that_cannot_be_fitted_say_why():
    original = folded("decoder")
    keep = smallest(original, 0.7)
    pruned = original.copy()
    prune_groups(pruned, keep)
    reconstruct(pruned, original, keep, samples("decoder"))
    reasons = {r.layer: r.reason for r in pruned.records if isinstance(r, Skipped)}
    assert reasons["up"] == "it is a transposed convolution"


def test_seeds():
    found = []
    for seed in (0, 0, 1):
        original = folded("resnet")
        keep = smallest(original, 0.5)
        pruned = original.copy()
        prune_groups(pruned, keep)
        options = Reconstruct(positions=200, seed=seed)
        reconstruct(pruned, original, keep, samples("resnet", 2), options)
        found.append(pruned.module.state_dict())
    first, same, other = found
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_no_data():
    original = folded("resnet")
    with pytest.raises(InvalidInputError, match="no batch to reconstruct with"):
        reconstruct(original.copy(), original, {}, [])
