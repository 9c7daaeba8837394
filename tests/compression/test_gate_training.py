"""Gates: they leave the function alone, find the target, and can be taken out."""

from functools import cache
from itertools import cycle

import pytest
import torch
from torch import nn

from tersor.compression.channel_gates import Gates, gates, insert_gates
from tersor.compression.counts import Counts
from tersor.compression.gate_training import GatePenalty, remove_gates, units_kept
from tersor.compression.groups import channel_groups
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.network import Network
from tersor.graph.simplify import fold
from tersor.report.describe import describe
from tersor.training.feed import Feed
from tersor.training.loop import run_training
from tersor.training.optimizer import parameter_groups, rate_at, set_rates, total_rate
from tersor.training.options import Training
from tests.captured import captured, outputs

KINDS = ["vib", "bayes", "l0"]
NAMES = ["resnet", "shufflenet", "mobilenetv3", "densenet", "grouped", "vgg", "shared_conv"]
CASES = list(zip(NAMES, cycle(KINDS), strict=False))


def folded(name):
    network = captured(name)
    fold(network)
    return network


def macs(network):
    return sum(row.macs for row in describe(network))


def assert_equal(network, other):
    args, kwargs = network.args, network.kwargs
    for a, b in zip(
        outputs(network, *args, **kwargs), outputs(other, *args, **kwargs), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_means_of_new_gates_are_one(name, kind):
    network = folded(name)
    gated = network.copy()
    insert_gates(gated, Gates(kind))
    gated.module.eval()
    assert_equal(gated, network)
    gated.copy().module(*gated.args)


def shaken(name, kind):
    """A network with gates of all kinds: some closed, others not 1."""
    network = folded(name)
    insert_gates(network, Gates(kind))
    generator = torch.Generator().manual_seed(0)
    for gate in gates(network):
        closed = torch.rand(len(gate.raw), generator=generator) < 0.5
        closed[0] = False
        level = torch.where(closed, 6.0, -4.0) if kind != "l0" else torch.where(closed, -9.0, 0.3)
        gate.raw.data = level.to(gate.raw) / gate.options.speed
        if kind != "l0":
            mean = 0.5 + torch.rand(len(gate.raw), generator=generator)
            gate.mean.data = torch.where(closed, 0.0, mean).to(gate.mean)
    return network


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_without_gates_it_computes_what_it_does_with_their_means(name, kind):
    gated = shaken(name, kind)
    removed = gated.copy()
    records = remove_gates(removed)
    assert all(record.step == "prune" for record in records)
    assert not any(gates(removed))
    assert macs(removed) < macs(gated)
    gated.module.eval()
    assert_equal(removed, gated)


def test_noise_is_the_same_for_all_readers_and_differs_between_samples():
    """Two layers read one group: x and −x cancel if both have the same gates."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(i, o, 1) for i, o in ((3, 4), (4, 2), (4, 2)))
            self.c.weight.data, self.c.bias.data = -self.b.weight.data, -self.b.bias.data

        def forward(self, x):
            x = self.a(x)
            return self.b(x) + self.c(x), self.b(x)

    network = capture(Net(), torch.randn(2, 3, 4, 4))
    insert_gates(network, Gates(start=0.0))
    same, noisy = outputs(network, torch.ones(2, 3, 4, 4))
    assert same.abs().max() < 1e-5
    assert (noisy[0] - noisy[1]).abs().max() > 1e-2


def test_mixed_precision_stays_what_it_is():
    network, _ = small()
    insert_gates(network)
    gate = next(gates(network))
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(2, 16, 6, 6, dtype=dtype)
        assert gate(x, 0).dtype == dtype
        torch.testing.assert_close(gate(x, 0).float(), x.float(), rtol=0, atol=0.3)


def small():
    """Two layers whose channels 0 to 3 carry nearly all, and data for it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 36, 4),
    )
    for layer, gain in zip((model[0], model[2], model[5]), (3, 3, 8), strict=True):
        layer.weight.data *= gain
        layer.bias.data.zero_()
    model[2].weight.data[:, 4:] *= 0.05
    model[5].weight.data[:, 4 * 36 :] *= 0.05
    x = torch.randn(16, 8, 3, 6, 6)
    return capture(model, x[0]), list(x)


TARGET = 0.4


def trained(kind, steps, scale=1.0) -> tuple[Network, Network, Counts]:
    """The network, itself trained with gates, and its MACs."""
    network, gated, count = _trained(kind, steps, scale)
    return network, gated.copy(), count


@cache
def _trained(kind, steps, scale):
    network, batches = small()
    gated = network.copy()
    options = Training(steps=steps, rate=0.05, log_every=50)
    speed = 20 / (options.highest_rate * total_rate(steps, options.warm_up))
    insert_gates(gated, Gates(kind, speed=speed))
    count = Counts(gated)
    teacher = network.copy().module.requires_grad_(False).eval()

    def loss(outputs, x):
        return scale * (outputs - teacher(x)).square().mean()

    feed = Feed(gated, [(x, x) for x in batches], labelled=True, seed=0)
    run_training(gated, feed, loss, options, penalty=GatePenalty(count, steps, TARGET))
    gated.module.eval()
    return network, gated, count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("steps", "scale"), [(60, 1.0), (300, 1.0), (120, 100.0), (120, 0.01)])
def test_training_finds_the_target_and_the_channels_that_matter(kind, steps, scale):
    """However long it is, and whatever the scale of the loss."""
    network, gated, count = trained(kind, steps, scale)
    left = float(count.expected({gate.name: gate.stays for gate in gates(gated)}))
    assert TARGET - 0.06 < left <= TARGET
    keep = units_kept(gated, TARGET)
    assert bool(keep["2"][:4].all() or keep["0"][:4].all())
    x = torch.randn(64, 3, 6, 6)
    gates_closed = outputs(gated, x)[0]
    remove_gates(gated, keep)
    assert TARGET - 0.04 < macs(gated) / macs(network) <= TARGET
    want, got = outputs(network, x)[0], outputs(gated, x)[0]
    torch.testing.assert_close(got, gates_closed, rtol=1e-4, atol=1e-4)
    assert (want - got).square().mean() < 0.1 * want.var()


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_open_gates_are_those_that_are_shut(kind):
    _, gated, _ = trained(kind, 300, 1.0)
    openness = torch.cat([gate.openness() for gate in gates(gated)])
    stays = torch.cat([gate.stays for gate in gates(gated)])
    assert openness[~stays].max() < openness[stays].min()


@pytest.mark.parametrize("steps", [20, 200])
def test_log_alpha_travels_as_far_in_a_short_training(steps):
    network, _ = small()
    options = Training(steps=steps, rate=0.03)
    speed = 20 / (options.highest_rate * total_rate(steps, options.warm_up))
    insert_gates(network, Gates(start=0.0, speed=speed))
    moving = GatePenalty(Counts(network), steps).parameters(network.module)
    optimizer = torch.optim.AdamW(parameter_groups(network.module, options, moving))
    for step in range(steps):
        set_rates(optimizer, rate_at((step + 0.5) / steps, options.warm_up))
        torch.cat([gate.openness() for gate in gates(network)]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for gate in gates(network):
        torch.testing.assert_close(gate.raw * speed, torch.full_like(gate.raw, 20.0))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_worth_more_starts_more_open(kind):
    network, _ = small()
    worth = {name: torch.rand(16) + 0.1 for name in ("0", "2")}
    insert_gates(network, Gates(kind), worth)
    for gate in gates(network):
        assert torch.equal(gate.openness().argsort(), worth[gate.name].argsort())
        spread = gate.openness() - worth[gate.name].log()
        torch.testing.assert_close(spread, spread.mean().expand(16))


def test_without_a_target_gates_close_by_themselves():
    network, _ = small()
    insert_gates(network, Gates("l0", start=-3.0))
    penalty = GatePenalty(Counts(network), 10, None)
    for gate in gates(network):
        gate.raw.data[:3] = 1.0
    penalty(network, 0.0).backward()
    for gate in gates(network):
        assert gate.stays.tolist() == [True] * 3 + [False] * 13
        assert gate.raw.grad is not None
        assert bool((gate.raw.grad > 0).all())


def test_what_cannot_be_done_is_refused():
    network = folded("manual_attention")
    with pytest.raises(InvalidInputError, match="no group of channels"):
        insert_gates(network)
    network = folded("resnet")
    with pytest.raises(InvalidInputError, match="call insert_gates first"):
        remove_gates(network)
    count = Counts(network)
    insert_gates(network)
    with pytest.raises(InvalidInputError, match="call remove_gates first"):
        insert_gates(network)
    with pytest.raises(InvalidInputError, match=r"target=1\.5"):
        GatePenalty(count, 10, 1.5)
    names = {gate.name for gate in gates(network)}
    assert names == {group.name for group in channel_groups(network).found}
