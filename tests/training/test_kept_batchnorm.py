"""Kept BatchNorms: nothing changes when they come, and no integer when they go."""

import pytest
import torch
import torch.nn.functional as F

import tersor
from tersor.api.train import trainable
from tersor.graph.layers import layers
from tersor.quant.placement.place import weight_quantizer
from tersor.training.kept_batchnorm import reestimate
from tests.training.setting import batches, inputs, model, quantized


def integers(network):
    found = []
    for layer in layers(network):
        quantizer = weight_quantizer(layer)
        scale = quantizer.scale.view(-1, *[1] * (layer.weight.ndim - 1))
        found.append((quantizer(layer.weight) / scale).round())
    return found


@torch.no_grad()
def test_coming_changes_nothing():
    q, x = quantized(), inputs(16)
    kept = trainable(q, [x], batchnorm="kept").eval()
    folded = trainable(q, [x], batchnorm="folded").eval()
    torch.testing.assert_close(kept(x), folded(x), atol=1e-5, rtol=0)


@torch.no_grad()
def test_going_changes_no_integer_of_any_weight():
    net = trainable(quantized(), [inputs(16)], batchnorm="kept")
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    reestimate(net.network, [((x,), {}) for x in batches()])
    net.eval()
    before = []
    for name in ("0_weight", "3_weight", "8_weight"):
        learned = net.module.get_submodule(f"quantizers.{name}")
        weight = net.module.get_parameter(name.replace("_", "."))
        scale = learned.scale.view(-1, *[1] * (weight.ndim - 1))
        before.append((learned(weight) / scale).round())
    settled = net.quantized()
    for ours, theirs in zip(integers(settled.network), before, strict=True):
        assert torch.equal(ours, theirs)
    assert "batch_norm" not in settled.network.module.code


@torch.no_grad()
def test_statistics_are_the_means_over_the_batches():
    net = trainable(quantized(), [inputs(16)], batchnorm="kept")
    reestimate(net.network, [((x,), {}) for x in batches()])
    seen = [F.conv2d(_read(net, x), _first_weight(net)) for x in batches()]
    mean = torch.stack([y.mean((0, 2, 3)) for y in seen]).mean(0)
    var = torch.stack([y.var((0, 2, 3)) for y in seen]).mean(0)
    norm = net.module.get_submodule("0_kept_batchnorm")
    torch.testing.assert_close(norm.running_mean, mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, var, atol=1e-5, rtol=1e-4)


def _read(net, x):
    """What the first layer reads: zeros around the image, then the quantizer."""
    return net.module.get_submodule("quantizers.input_1")(F.pad(x, (1, 1, 1, 1)))


def _first_weight(net):
    quantizer = net.module.get_submodule("quantizers.0_weight")
    return quantizer(net.module.get_parameter("0.weight"))


def test_train_and_eval_choose_the_statistics():
    net, x = trainable(quantized(), [inputs(16)]), inputs(16, seed=3)
    by_batch = net.train()(x)
    torch.testing.assert_close(net.eval()(x), net.eval()(x))
    assert not torch.allclose(by_batch, net(x))
    assert torch.equal(net.train()(x), by_batch)


def test_one_step_for_all_channels_has_none():
    x = inputs(16)
    q = tersor.quantize(model(), x[:2], data=x, scheme="dfq-paper", weights=4, activations=4)
    net = trainable(q, [x], batchnorm="kept")
    assert "batch_norm" not in net.module.code


@pytest.mark.parametrize("batchnorm", ["kept", "folded"])
def test_it_can_be_trained_on_after_it_was_taken(batchnorm):
    net = trainable(quantized(), [inputs(16)], batchnorm=batchnorm)
    first = net.quantized()
    net(inputs(16)).square().sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    assert not torch.equal(first(inputs(4)), net.quantized()(inputs(4)))
