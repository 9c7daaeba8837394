"""The contract of every pass: the function stays, the caller's model stays, copies are apart."""

import copy

import pytest
import torch

from tersor.frontend.capture import capture
from tersor.graph.network import Network
from tersor.graph.simplify import fold, materialize_weights, simplify
from tersor.passes.equalize import equalize
from tests.captured import assert_same_function, captured
from tests.zoo import ZOO

names = pytest.mark.parametrize("name", ZOO)


def everything(network: Network) -> None:
    """All passes, twice: the second round finds the graph that the first one left."""
    for _ in range(2):
        simplify(network)
        equalize(network)


PASSES = {
    "materialize": (materialize_weights,),
    "fold": (fold,),
    "equalize": (materialize_weights, fold, equalize),
    "everything": (everything,),
}


def inputs(name):
    """Inputs that the passes have not seen, in batches of 1, 2 and 5."""
    case = ZOO[name]
    return [
        (case.args(torch.float64, batch, seed=7), case.kwargs(torch.float64, batch, seed=7))
        for batch in (1, 2, 5)
    ]


@names
@pytest.mark.parametrize("steps", PASSES.values(), ids=PASSES.keys())
def test_keeps_the_function(name, steps):
    network = captured(name)
    for step in steps:
        step(network)
    assert_same_function(network, ZOO[name].make().double(), inputs(name), tolerance=1e-10)


@names
def test_never_touches_the_callers_model(name):
    case = ZOO[name]
    model = case.make().double().train()
    before = copy.deepcopy(model.state_dict())
    storages = {tensor.data_ptr() for tensor in model.state_dict().values()}
    network = capture(model, case.args(torch.float64), case.kwargs(torch.float64))
    shared = {tensor.data_ptr() for tensor in network.module.state_dict().values()} & storages
    everything(network)
    for tensor in network.module.state_dict().values():
        tensor.zero_()
    assert not shared
    assert model.training
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@names
def test_copies_are_apart(name):
    network = captured(name)
    code, tensors = network.module.code, copy.deepcopy(network.module.state_dict())
    everything(network.copy())
    assert network.module.code == code
    assert not network.records
    assert not network.statistics
    assert network.module.state_dict().keys() == tensors.keys()
    assert all(torch.equal(x, tensors[key]) for key, x in network.module.state_dict().items())
