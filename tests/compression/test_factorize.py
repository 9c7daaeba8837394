"""Factorized layers: the same function at full rank, the promised cost, refusals with reasons."""

import math
from functools import cache

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tersor.compression.chain import LayerSizes, replace_by_chain
from tersor.compression.chain_fit import Refit
from tersor.compression.factorize import Factorization, factorize, rank_for, refusal
from tersor.core.ranks import decompose, full_ranks, shapes_of
from tersor.data.walk.gram import moments_of
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.costs import costs, total
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Skipped
from tersor.graph.shapes import shapes
from tersor.names import METHODS
from tests.captured import captured, outputs
from tests.zoo import ZOO

CONVOLUTIONS = {
    "plain": (nn.Conv2d(8, 10, 3), (8, 7, 7)),
    "padded": (nn.Conv2d(8, 10, 3, padding=1, bias=False), (8, 7, 7)),
    "strided": (nn.Conv2d(8, 10, (3, 2), stride=(2, 1), padding=(0, 1)), (8, 8, 7)),
    "dilated": (nn.Conv2d(8, 10, 3, dilation=(2, 1), padding=(2, 0), stride=2), (8, 9, 7)),
    "same": (nn.Conv2d(8, 10, (5, 3), padding="same"), (8, 7, 7)),
    "valid": (nn.Conv2d(8, 10, 3, padding="valid"), (8, 7, 7)),
    "one axis": (nn.Conv2d(8, 10, (1, 5), padding=(0, 2), stride=(2, 1)), (8, 7, 7)),
    "one tap": (nn.Conv2d(8, 10, 1, stride=2, padding=1), (8, 7, 7)),
    "conv1d": (nn.Conv1d(8, 10, 5, stride=3, padding=2), (8, 17)),
    "conv3d": (nn.Conv3d(6, 7, (2, 3, 2), padding=(1, 0, 0), stride=(1, 2, 1)), (6, 4, 7, 3)),
}
LAYERS = {
    **CONVOLUTIONS,
    "linear": (nn.Linear(12, 10), (12,)),
    "tokens": (nn.Linear(12, 10, bias=False), (7, 12)),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
every_method = pytest.mark.parametrize("method", METHODS)


@cache
def _captured(name, dtype, batch):
    module, shape = LAYERS[name]
    x = torch.randn(batch, *shape, generator=torch.manual_seed(0), dtype=dtype)
    return capture(nn.Sequential(module).to(dtype), x)


def one_layer(name, dtype=torch.float64, batch=3):
    network = _captured(name, dtype, batch).copy()
    (layer,) = layers(network)
    return network, layer


def kept(method, layer):
    """What a method becomes where there is no kernel."""
    return method if any(taps > 1 for taps in layer.weight.shape[2:]) else "svd"


def counted(network):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*network.args)
    return counter.get_total_flops() // 2 // len(network.args[0])


@every_method
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str
)
def test_full_rank_computes_the_same(method, name, dtype, tolerance):
    network, layer = one_layer(name, dtype)
    (want,) = outputs(network, *network.args)
    method, weight = kept(method, layer), layer.weight.detach()
    chain = decompose(method, weight, full_ranks(method, weight))
    found = replace_by_chain(layer, chain)
    network.finish()
    (got,) = outputs(network, *network.args)
    assert (got - want).abs().max() <= tolerance * want.abs().max()
    assert [each.name for each in found] == [f"0.{number}" for number in range(len(chain))]
    assert [each.name for each in layers(network)] == [each.name for each in found]


@every_method
@every_layer
def test_the_cost_is_the_promised_one(method, name):
    network, layer = one_layer(name)
    sizes, kind = LayerSizes.of(layer), kept(method, layer)
    shape, before = tuple(layer.weight.shape), costs(network)["0"]
    assert before.macs == sizes.macs(shape)
    for ratio in (0.3, 0.6, 0.9):
        edited = network.copy()
        (layer,) = layers(edited)
        ranks = rank_for(layer, method, ratio)
        if ranks is None:
            continue
        record = factorize(layer, Factorization(method, ranks))
        promised = sizes.macs(*shapes_of(kind, shape, ranks))
        found = total(costs(edited).values())
        assert isinstance(record, Applied)
        assert record.numbers["MACs after"] == promised == found.macs == counted(edited)
        assert promised <= ratio * before.macs
        assert record.numbers["parameters after"] == found.parameters
        assert costs(network) == {"0": before}


@every_method
@every_layer
def test_shapes_in_the_graph_are_right(method, name):
    network, layer = one_layer(name)
    ranks = rank_for(layer, method, 0.8)
    factorize(layer, Factorization(method, ranks))
    seen = shapes(network)
    for each in layers(network):
        told = each.node.meta["val"].shape
        assert tuple(told[1:]) == tuple(seen[each.node][1:])
        assert told[0] == network.graph.find_nodes(op="placeholder")[0].meta["val"].shape[0]
    assert outputs(network.copy(), *network.args)[0].shape == seen[layer.node]


@every_method
@every_layer
def test_data_beat_none_on_the_data(method, name):
    network, layer = one_layer(name, batch=64)
    mix = torch.randn([network.args[0].shape[-1]] * 2, generator=torch.manual_seed(5)).double()
    x = network.args[0] @ mix + 0.5
    (want,) = outputs(network, x)
    moments = moments_of(layer, [(x, want)], 10_000, torch.Generator())
    ranks, errors = rank_for(layer, method, 0.6), []
    for data in (None, moments):
        edited = network.copy()
        (layer,) = layers(edited)
        record = factorize(layer, Factorization(method, ranks), data, Refit(damping=1e-9))
        errors.append(float((outputs(edited, x)[0] - want).square().mean()))
    assert errors[1] < errors[0]
    centered = want - want.mean([axis for axis in range(want.ndim) if axis != _axis(layer, want)],
                                keepdim=True)  # fmt: skip
    told = record.numbers["output lost"]
    assert math.isclose(told, errors[1] / float(centered.square().mean()), rel_tol=1e-6)


def _axis(layer, value):
    return layer.channel_axis % value.ndim


@every_method
def test_rank_one(method):
    network, layer = one_layer("padded")
    ranks = (1,) * len(full_ranks(method, layer.weight))
    assert isinstance(factorize(layer, Factorization(method, ranks)), Applied)
    assert outputs(network, *network.args)[0].isfinite().all()


@every_method
def test_a_layer_of_zeros(method):
    network, layer = one_layer("padded")
    network.replace_tensor(layer.weight_node, 0 * layer.weight.detach())
    x, ranks = network.args[0], (1,) * len(full_ranks(method, layer.weight))
    moments = moments_of(layer, [(x, outputs(network, x)[0])], 100, torch.Generator())
    for data in (None, moments):
        edited = network.copy()
        (layer,) = layers(edited)
        record = factorize(layer, Factorization(method, ranks), data)
        assert isinstance(record, Applied)
        assert all(value == value for value in record.numbers.values())
        assert not outputs(edited, x)[0].any()


@every_method
def test_stored_factors_stand_alone(method):
    """Contiguous, and views of nothing, as files of weights want them."""
    network, layer = one_layer("strided")
    factorize(layer, Factorization(method, rank_for(layer, method, 0.6)))
    stored = list(network.module.parameters())
    assert all(each.is_contiguous() for each in stored)
    assert len({each.untyped_storage().data_ptr() for each in stored}) == len(stored)
    assert all(each.untyped_storage().nbytes() == each.nbytes for each in stored)


class Odd(nn.Module):
    """One of each layer that is refused."""

    def __init__(self):
        super().__init__()
        self.tied = nn.Linear(8, 8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.transposed = nn.ConvTranspose2d(8, 8, 3)
        self.source = nn.Parameter(torch.randn(8, 8))

    def forward(self, x):
        x = self.transposed(self.grouped(self.depthwise(x))).mean((2, 3))
        x = self.tied(self.tied(x).relu())
        return nn.functional.linear(x, x.T @ x + self.source)


def test_refusals_name_the_reason():
    network = capture(Odd(), torch.randn(2, 8, 6, 6))
    reasons = {
        "depthwise": "it is depthwise, so it is cheap already",
        "grouped": "it is grouped, so it is cheap already",
        "transposed": "it is a transposed convolution",
        "tied": "it shares its weight with another call",
    }
    before = outputs(network, *network.args)[0]
    for layer in list(layers(network)):
        record = factorize(layer, Factorization("svd", (1,)))
        assert record == Skipped(
            layer.name, "factorize", reasons.get(layer.name, "its weight is computed")
        )
    assert torch.equal(outputs(network, *network.args)[0], before)


def test_ranks_that_save_nothing_are_refused():
    network, layer = one_layer("linear")
    record = factorize(layer, Factorization("svd", full_ranks("svd", layer.weight)))
    assert record == Skipped("0", "factorize", "svd of ranks (10,) saves no MACs")
    assert network.records[-1] is record
    assert rank_for(layer, "svd", 0.01) is None


@pytest.mark.parametrize("ranks", [(0,), (11,), (2, 2)])
def test_ranks_that_do_not_suit_the_layer(ranks):
    _, layer = one_layer("linear")
    with pytest.raises(InvalidInputError, match="do not suit 0 with svd"):
        factorize(layer, Factorization("svd", ranks))


@pytest.mark.parametrize(("method", "ratio"), [("qr", 0.5), ("svd", 0.0), ("svd", 1.0)])
def test_wrong_options(method, ratio):
    _, layer = one_layer("linear")
    with pytest.raises(InvalidInputError, match="give one"):
        rank_for(layer, method, ratio)


@pytest.mark.parametrize("name", ZOO)
def test_every_network_runs_with_its_layers_factorized(name):
    """Also at a batch that capture has not seen."""
    network, case = captured(name), ZOO[name]
    before, seen = total(costs(network).values()), shapes(network)
    for layer in list(layers(network)):
        ranks = None if refusal(layer) else rank_for(layer, "spatial", 0.7, seen)
        if ranks is not None:
            record = factorize(
                layer, Factorization("spatial", ranks), sizes=LayerSizes.of(layer, seen)
            )
            assert isinstance(record, Applied)
    assert total(costs(network).values()).macs <= before.macs
    args, kwargs = case.args(torch.float64, batch=3), case.kwargs(torch.float64, batch=3)
    want, got = (outputs(net, *args, **kwargs) for net in (captured(name), network))
    assert [each.shape for each in want] == [each.shape for each in got]
