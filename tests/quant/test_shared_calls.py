"""A weight that several calls read is rounded for all of them, in whatever order they run."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tersor
from tersor.core.metrics import sqnr
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.adaround import AdaRound
from tersor.quant.fast_rounding import Rounding
from tersor.quant.rounding.shared_calls import gather, other_calls

SAMPLES = torch.randn(64, 4, 8, 8, generator=torch.manual_seed(0))


class Heads(nn.Module):
    """One head for two scales, one of which has five times the range of the other."""

    def __init__(self, coarse_first, stride=1):
        super().__init__()
        torch.manual_seed(0)
        self.coarse_first, self.stride = coarse_first, stride
        self.fine = nn.Conv2d(4, 8, 3, padding=1)
        self.coarse = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))

    def forward(self, x):
        fine = F.relu(self.fine(x))
        coarse = F.relu(self.coarse(fine)) * 5
        if self.coarse_first:
            found = self.head(coarse)
            return {"fine": self.head(fine), "coarse": found}
        return {"fine": self.head(fine), "coarse": self.head(coarse)}


class Chain(nn.Module):
    """A layer that reads its own output, so that no call can wait for the others' inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(F.relu(self.layer(F.relu(self.layer(x)))))


def quality(coarse_first, rounding=None):
    """SQNR of both outputs at 4 bits."""
    model = Heads(coarse_first).eval()
    options = tersor.WithData(rounding=rounding or Rounding())
    q = tersor.quantize(model, data=SAMPLES, weights=4, options=options)
    want, got = model(SAMPLES), q(SAMPLES)
    return {key: sqnr(want[key].detach(), got[key].detach()) for key in want}


def test_the_order_of_the_calls_changes_little():
    fine_first, coarse_first = quality(False), quality(True)
    for key, found in fine_first.items():
        assert found > 18
        assert found == pytest.approx(coarse_first[key], abs=1.5)


def test_adaround_learns_from_all_calls():
    found = quality(False, AdaRound(iterations=60))
    assert min(found.values()) > 18


@pytest.mark.parametrize("coarse_first", [False, True])
def test_what_the_calls_read_is_moved_forward_and_the_function_stays(coarse_first):
    model = Heads(coarse_first).eval()
    network = capture(model, SAMPLES[:2])
    before = [node.name for node in network.graph.nodes]
    gather(network)
    after = [node.name for node in network.graph.nodes]
    assert sorted(after) == sorted(before)
    first = next(layer for layer in layers(network) if layer.name == "head.0")
    (other,) = other_calls(first)
    assert after.index(other.input.name) < after.index(first.node.name)
    want, got = model(SAMPLES), network(SAMPLES)
    assert all(torch.equal(got[key], want[key]) for key in want)


def test_calls_that_read_each_other_stay_in_order():
    model = Chain().eval()
    network = capture(model, torch.randn(2, 8))
    before = [node.name for node in network.graph.nodes]
    gather(network)
    assert [node.name for node in network.graph.nodes] == before
    x = torch.randn(256, 8, generator=torch.manual_seed(1))
    q = tersor.quantize(model, data=x)
    assert sqnr(model(x).detach(), q(x).detach()) > 30


def test_each_call_has_its_own_bias_and_its_mean_is_right():
    model = Heads(False).eval()
    q = tersor.quantize(model, data=SAMPLES, weights=3, options=tersor.WithData(held_back=0.0))
    calls = [layer for layer in layers(q.network) if layer.name == "head.2"]
    assert len({layer.weight_node for layer in calls}) == 1
    assert len({layer.bias_node for layer in calls}) == len(calls) == 2
    want, got = model(SAMPLES), q(SAMPLES)
    for key, ideal in want.items():
        off = (got[key] - ideal).mean((0, 2, 3)).abs().max()
        assert off < 0.1 * ideal.std()
