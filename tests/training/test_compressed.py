"""A compressed network is trained like a quantized one."""

import pytest
import torch
from torch import nn

import tersor
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.results.compressed import Compressed
from tersor.training.layout import channels_last
from tests import nets


@pytest.fixture
def damaged():
    """A network that has lost weights, and the whole one."""
    original = capture(*nets.with_example())
    network = original.copy()
    first = next(iter(layers(network)))
    with torch.no_grad():
        first.weight[:4] = 0.01
    return Compressed(network, original)


def distance(compressed):
    x = nets.images(64, seed=3)
    with torch.no_grad():
        return float((compressed(x) - compressed.original(x)).square().mean())


def test_what_was_lost_is_learned_without_labels(damaged):
    before = {k: x.clone() for k, x in damaged.network.module.state_dict().items()}
    options = tersor.Training(epochs=40, rate=0.02, distil="mse")
    trained = tersor.train(damaged, [nets.images(32, seed) for seed in range(4)], options=options)
    assert isinstance(trained, Compressed)
    assert distance(trained) < 0.5 * distance(damaged)
    for name, value in damaged.network.module.state_dict().items():
        assert torch.equal(value, before[name])


def test_batchnorms_take_the_statistics_of_batches_and_are_fixed_again(damaged):
    batches = [5 * nets.images(32, seed) for seed in range(4)]
    trained = tersor.train(damaged, batches, options=tersor.Training(epochs=3))
    buffers = dict(trained.network.module.named_buffers())
    running = {k: x for k, x in damaged.network.module.named_buffers() if "running_mean" in k}
    assert running
    assert not any(torch.equal(x, buffers[name]) for name, x in running.items())
    x = nets.images(4)
    with torch.no_grad():
        torch.testing.assert_close(trained(x)[:2], trained(x[:2]))


def test_weights_are_laid_out_as_before_when_training_ends(damaged):
    trained = tersor.train(damaged, [nets.images(16)], options=tersor.Training(epochs=1))
    for network in (damaged.network, trained.network, damaged.original):
        assert all(p.is_contiguous() for p in network.module.parameters())


def test_channels_come_last_where_a_convolution_has_been_laid_out_so():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    x = torch.randn(2, 3, 8, 8)
    before = network(x)
    channels_last(network)
    after = network(x)
    assert after.is_contiguous(memory_format=torch.channels_last)
    assert not after.is_contiguous()
    torch.testing.assert_close(after.contiguous(), before)


def test_it_can_be_exported_and_quantized(damaged, tmp_path):
    trained = tersor.train(damaged, [nets.images(16)], options=tersor.Training(epochs=1))
    path = trained.export(tmp_path / "a.onnx").path
    assert trained.verify(path, nets.images(16), latency=False).sqnr > 80
    assert tersor.quantize(trained.network, data=nets.images(16)).records


def test_folded_batchnorms_come_back_for_the_training_alone():
    found = tersor.compress(*nets.with_example(), macs=0.4)
    options = tersor.Training(epochs=20, rate=0.01, distil="mse", batchnorm="kept")
    trained = tersor.train(found, [nets.images(32, seed) for seed in range(4)], options=options)
    assert trained.cost == found.cost
    assert not [n for n in trained.network.nodes() if "batch_norm" in n.name]
    assert distance(trained) < distance(found)


def test_training_starts_where_compression_ended():
    """No statistic of the float network comes back: layers fitted to data have others."""
    found = tersor.compress(*nets.with_example(), macs=0.4, data=nets.images(64))
    batches = [nets.images(32, seed) for seed in range(2)]
    still = tersor.Training(epochs=1, rate=1e-9, bias_rate=1e-9)
    trained, x = tersor.train(found, batches, options=still), nets.images(16, seed=5)
    with torch.no_grad():
        torch.testing.assert_close(trained(x), found(x))


def test_near_fills_in_what_was_left_open():
    found = tersor.Training().near(0.0)
    assert (found.rate, found.batchnorm, found.distil) == (0.001, "folded", "mse")
    assert found.near(0.5) == found
    chosen = tersor.Training(rate=0.02, batchnorm="kept", distil="kl")
    assert chosen.near(0.5) == chosen


def test_what_lost_more_takes_larger_steps():
    lost = [0.0, 0.001, 0.01, 0.1, 0.3, 1.0, 50.0, float("inf"), float("nan")]
    rates = [tersor.Training().near(x).rate for x in lost]
    assert rates == sorted(rates)
    assert (rates[0], rates[3], rates[-1]) == (0.001, 0.0047, 0.01)


def test_the_record_names_the_rate(damaged):
    whole = Compressed(damaged.original.copy(), damaged.original)
    batches = [nets.images(32, seed) for seed in range(2)]
    first, second = (
        tersor.train(start, batches, options=tersor.Training(epochs=1)).records[-1].numbers["rate"]
        for start in (whole, damaged)
    )
    assert first == 0.001 < second <= 0.01
