"""Factorization with data: closer to the float network, exported, and quantized afterwards."""

from functools import cache, partial

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

import tersor
from benchmarks.zoo.data import cifar10_train
from benchmarks.zoo.models import MODELS, accuracy
from tersor.compression.chain import LayerSizes
from tersor.compression.chain_fit import Refit
from tersor.compression.factorize import Factorization, factorize, rank_for, refusal
from tersor.compression.reconstruct import factorize_with_data
from tersor.core.metrics import sqnr
from tersor.data.walk.gram import moments_of
from tersor.data.walk.observe import observe
from tersor.errors import InvalidInputError
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.graph.costs import costs, total
from tersor.graph.layers import layers
from tersor.graph.network import Applied, Skipped
from tersor.graph.shapes import shapes
from tersor.graph.simplify import fold
from tersor.names import METHODS
from tests.assets import needs_assets
from tests.captured import captured, outputs
from tests.zoo import ZOO

aten = torch.ops.aten

QUICK = Refit(samples=5_000, steps=20)


@cache
def _resnet20():
    model = MODELS["resnet20"]
    network = capture(model.load(), model.example())
    fold(network)
    return network


@cache
def images(count):
    return MODELS["resnet20"].normalize(cifar10_train()[0][:count])


def choices_of(network, method, ratio=0.5):
    seen, found = shapes(network), {}
    for layer in layers(network):
        ranks = None if refusal(layer) else rank_for(layer, method, ratio, seen)
        if ranks is not None and layer.name not in ("conv1", "linear"):
            found[layer.name] = Factorization(method, ranks)
    return found


@cache
def some_of(method):
    """All layers for one method; a few for the others, which take longer."""
    found = choices_of(_resnet20(), method)
    return found if method == "spatial" else dict(list(found.items())[::6])


def without_data(network, choices):
    seen = shapes(network)
    for layer in list(layers(network)):
        if layer.name in choices:
            factorize(layer, choices[layer.name], sizes=LayerSizes.of(layer, seen))


@cache
def _with_data(method):
    network = _resnet20().copy()
    batches = [((part,), {}) for part in images(96).split(32)]
    factorize_with_data(network, some_of(method), batches, QUICK)
    return network


def with_data(method):
    return _with_data(method).copy()


@needs_assets
@pytest.mark.parametrize("method", METHODS)
def test_data_bring_a_real_network_closer(method):
    x = images(512)[384:]
    plain = _resnet20().copy()
    without_data(plain, some_of(method))
    fitted = with_data(method)
    assert costs(plain) == costs(fitted)
    (want,), (first,), (second,) = (outputs(net, x) for net in (_resnet20(), plain, fitted))
    assert sqnr(want, second) > sqnr(want, first) + 3
    same = float((second.argmax(1) == want.argmax(1)).double().mean())
    assert same > float((first.argmax(1) == want.argmax(1)).double().mean())


@needs_assets
def test_the_result_exports_and_runs(tmp_path):
    network, x = with_data("spatial"), images(512)[256:272]
    export_onnx(network, tmp_path / "net.onnx")
    session = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    names = set(network.module.state_dict())
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(got, outputs(network, x)[0].numpy(), rtol=1e-3, atol=1e-3)
    assert {"layer1.0.conv1.0.weight", "layer1.0.conv1.1.weight", "layer1.0.conv1.1.bias"} <= names
    assert not any(name in names for name in ("layer1.0.conv1.weight", "layer1.0.conv1.bias"))


@needs_assets
def test_the_result_quantizes():
    network, x = with_data("spatial"), images(512)[448:]
    quantized = tersor.quantize(network)
    (want,), (got,) = outputs(network, x), outputs(quantized.network, x)
    assert sqnr(want, got) > 15


@needs_assets
def test_the_same_data_give_the_same_weights_and_the_caller_keeps_the_float_network():
    before = {key: value.clone() for key, value in _resnet20().module.state_dict().items()}
    choices = dict(list(choices_of(_resnet20(), "spatial").items())[:2])
    batches, found = [((images(32),), {})], []
    for seed in (0, 0, 1):
        network = _resnet20().copy()
        options = Refit(samples=2_000, steps=5, seed=seed)
        factorize_with_data(network, choices, batches, options)
        found.append(network.module.state_dict())
    first, same, other = found
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    after = _resnet20().module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", ["resnet", "densenet", "encoder_layer", "shufflenet", "decoder"])
def test_networks_of_all_kinds(name):
    network, case, told = captured(name), ZOO[name], []
    choices = choices_of(network, "svd", 0.6)
    batches = [(case.args(torch.float64, 16, s), case.kwargs(torch.float64, 16, s)) for s in (0, 1)]
    plain = captured(name)
    without_data(plain, choices)
    factorize_with_data(network, choices, batches, QUICK, lambda *news: told.append(news))
    assert [number for number, _, _ in told] == sorted({number for number, _, _ in told})
    chains = [record for _, _, record in told if record.step == "factorize"]
    assert [record.layer for record in chains] == list(choices)
    assert all(isinstance(record, Applied) for record in chains)
    assert [record for _, _, record in told] == network.records[-len(told) :]
    args, kwargs = case.args(torch.float64, 32, 7), case.kwargs(torch.float64, 32, 7)
    want, first, second = (outputs(n, *args, **kwargs)[0] for n in (captured(name), plain, network))
    assert sqnr(want, second) > sqnr(want, first)


def test_a_layer_makes_up_for_those_before_it():
    """Asymmetric: closer to the float outputs than with each layer fitted to the float network."""
    torch.manual_seed(0)
    parts = [part for _ in range(4) for part in (nn.Linear(24, 24), nn.ReLU())]
    network = capture(nn.Sequential(*parts).double(), torch.randn(2, 24).double())
    x = torch.randn(2000, 24, generator=torch.manual_seed(1)).double()
    choices = {f"{2 * number}": Factorization("svd", (9,)) for number in range(4)}
    values, symmetric, asymmetric = {}, network.copy(), network.copy()
    observe(
        network, [((x,), {})], {n: partial(values.__setitem__, n.name) for n in network.nodes()}
    )
    for layer in list(layers(symmetric)):
        pair = values[layer.input.name], values[layer.node.name]
        moments = moments_of(layer, [pair], 1, torch.Generator())
        factorize(layer, choices[layer.name], moments)
    factorize_with_data(asymmetric, choices, [((x,), {})])
    errors = [
        outputs(net, x)[0] - values[layer.node.name].relu() for net in (symmetric, asymmetric)
    ]
    assert errors[1].square().mean() < 0.97 * errors[0].square().mean()


def test_what_counts_is_behind_a_relu():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1)).double()
    model[0].bias.data -= 0.5
    network = capture(model, torch.randn(2, 6, 8, 8).double())
    x = torch.randn(64, 6, 8, 8, generator=torch.manual_seed(1)).double()
    choices = {"0": Factorization("spatial", (6,))}
    (want,) = outputs(model[:2], x)
    spread, errors = (want - want.mean((0, 2, 3), keepdim=True)).square().sum(), []
    for relu in (False, True):
        edited = network.copy()
        factorize_with_data(edited, choices, [((x,), {})], Refit(relu=relu))
        behind = next(node for node in edited.graph.nodes if node.target is aten.relu.default)
        found = []
        observe(edited, [((x,), {})], {behind: found.append})
        errors.append(float((found[0] - want).square().sum() / spread))
    assert errors[1] < 0.95 * errors[0]
    (record,) = (record for record in edited.records if record.step == "factorize")
    assert record.numbers["output behind ReLU lost"] == pytest.approx(errors[1])


def test_refused_layers_are_told():
    network = captured("mobilenetv2")
    names = {layer.name for layer in layers(network) if layer.is_depthwise}
    choices = dict.fromkeys(names, Factorization("svd", (1,)))
    factorize_with_data(network, choices, [(network.args, {})], QUICK)
    found = [record for record in network.records if record.step == "factorize"]
    assert {record.layer for record in found} == names
    assert all(isinstance(record, Skipped) for record in found)


def test_wrong_arguments():
    network = captured("resnet")
    with pytest.raises(InvalidInputError, match="no batch"):
        factorize_with_data(network, {}, [])
    with pytest.raises(InvalidInputError, match="no layer 'head'"):
        factorize_with_data(network, {"head": Factorization("svd", (1,))}, [(network.args, {})])


@needs_assets
def test_accuracy_of_a_network_at_half_the_cost():
    """Uniform ranks, no training: spatial SVD with data stays within four points of float."""
    model, network = MODELS["resnet20"], with_data("spatial")
    x, labels = (part[:300] for part in model.data())
    assert total(costs(network).values()).macs <= 0.51 * total(costs(_resnet20()).values()).macs
    assert accuracy(network, x, labels) >= accuracy(_resnet20(), x, labels) - 4
