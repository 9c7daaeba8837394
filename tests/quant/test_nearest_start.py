"""Training starts from nearest integers, whatever solver rounded the weights before."""

import pytest
import torch

import tersor
from tersor import LSQ, Training, WithData
from tersor.graph.layers import layers
from tersor.quant.rounding.nearest_start import nearest_start
from tests.nets import images, plain

FEW = {"weights": {"*": 3}, "activations": {"*": 4}}


@pytest.fixture(scope="module")
def solved():
    return tersor.quantize(plain(), images(2), data=images(32), **FEW)


@pytest.fixture(scope="module")
def nearest():
    """The documented way, with the equalization of a solver, which is none."""
    options = WithData(rounding=None, equalize=None)
    return tersor.quantize(plain(), images(2), data=images(32), options=options, **FEW)


def weights(network):
    return {layer.name: layer.weight.detach().clone() for layer in layers(network)}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_it_is_the_network_that_was_rounded_to_nearest(solved, nearest):
    assert not same(weights(solved.network), weights(nearest.network))
    batches = [((images(32),), {})]
    start = nearest_start(solved.network, solved.prepared, batches)
    assert same(weights(start), weights(nearest.network))
    with torch.no_grad():
        torch.testing.assert_close(start(images(8)), nearest.network(images(8)))


def test_training_comes_to_the_same_result(solved, nearest):
    options = Training(epochs=1, quantizers=LSQ(samples=32))
    found = [tersor.train(q, [images(32)], options=options) for q in (solved, nearest)]
    x = images(8)
    with torch.no_grad():
        torch.testing.assert_close(found[0](x), found[1](x))
    said = [r.what for r in found[0].records if r.step == "round"][-1]
    assert "training starts from the nearest integers" in said


def test_what_has_been_trained_is_not_undone(solved):
    own = tersor.trainable(solved, [images(32)])
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.mul_(1.01)
    trained = own.quantized()
    assert nearest_start(trained.network, trained.prepared, []) is trained.network


def test_other_networks_start_as_they_are(solved, nearest):
    assert nearest_start(nearest.network, nearest.prepared, []) is nearest.network
    kept = tersor.trainable(solved, [images(32)], options=LSQ(start="keep"), batchnorm="folded")
    assert same(weights(kept.network), weights(solved.network))
    eight = tersor.quantize(plain(), images(2), data=images(32))
    assert nearest_start(eight.network, eight.prepared, []) is eight.network
