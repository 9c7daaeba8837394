"""A copy without tensors of its own is not touched by what passes do to the network."""

import torch

from tersor.graph.layers import layers
from tersor.graph.simplify import simplify
from tersor.passes.equalize import equalize
from tersor.quant.shared_copy import shared_copy
from tests.captured import captured, outputs
from tests.zoo import ZOO


def test_passes_leave_the_copy_alone():
    network = captured("resnet")
    copy = shared_copy(network)
    shared = zip(network.module.parameters(), copy.module.parameters(), strict=True)
    assert all(ours is theirs for ours, theirs in shared)
    args = ZOO["resnet"].args(torch.float64, batch=2)
    before = {name: x.clone() for name, x in copy.module.state_dict().items()}
    wanted = outputs(copy, *args)
    simplify(network)
    equalize(network)
    for layer in layers(network):
        layer.set_grouped_weight(layer.grouped_weight().detach() * 2)
        layer.add_to_bias(torch.ones(1))
    after = copy.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(map(torch.equal, wanted, outputs(copy, *args)))


def test_what_cannot_be_trained_in_the_copy_can_be_in_the_network():
    network = captured("resnet")
    copy = shared_copy(network, trainable=False)
    ours, theirs = dict(network.module.named_parameters()), dict(copy.module.named_parameters())
    assert all(ours[name].data_ptr() == theirs[name].data_ptr() for name in theirs)
    assert ours.keys() == theirs.keys()
    assert all(x.requires_grad for x in ours.values())
    assert not any(x.requires_grad for x in theirs.values())
