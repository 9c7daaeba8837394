"""Damage from one backward pass: exact for linear networks, close to the truth for real ones."""

from functools import cache
from math import sqrt

import pytest
import torch
from torch import nn

from benchmarks.zoo import MODELS
from benchmarks.zoo.data import cifar10_train
from tersor.compression import estimate
from tersor.compression.chain_fit import Refit
from tersor.compression.counts import Counts
from tersor.compression.estimate import estimates
from tersor.compression.parts import group_parts, layer_parts
from tersor.compression.scores import scorer
from tersor.compression.sweep import Sweep, damages, try_part
from tersor.data.given.samples import samples
from tersor.data.outputs.outputs import noise_to_signal
from tersor.data.walk.one_at_a_time import outputs_of
from tersor.data.walk.output_gradients import output_pulls
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.graph.simplify import simplify
from tests import nets
from tests.assets import needs_assets

RATIOS = (0.8, 0.5, 0.3)
QUICK = Refit(steps=0, samples=2_000)


class Linear(nn.Module):
    """Two layers read the same channels; nothing is nonlinear, and there are few outputs."""

    def __init__(self, outputs=1):
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.left, self.right = nn.Conv2d(12, 8, 3, stride=2, padding=1), nn.Conv2d(12, 8, 1, 2)
        self.last = nn.Linear(8, outputs)

    def forward(self, x):
        x = self.first(x)
        return self.last((self.left(x) + self.right(x)).mean((2, 3)))


def linear(outputs=1):
    torch.manual_seed(0)
    network = capture(Linear(outputs).double(), torch.randn(2, 3, 8, 8).double())
    return network, [((torch.randn(8, 3, 8, 8).double(),), {}) for _ in range(4)]


def parts_of(network, batches=(), methods=("spatial",)):
    counts = Counts(network)
    score = scorer(network, counts.groups.found, batches, "fisher" if batches else "magnitude")
    found, _ = layer_parts(counts, methods, RATIOS)
    units, _ = group_parts(counts, score, RATIOS)
    return [*found, *units]


def both(network, parts, batches, refit=QUICK):
    """The estimates, and the damages of a run of the network for every way."""
    half = len(batches) // 2
    reference = outputs_of(network, batches[half:])
    rest = batches[:half], batches[half:], reference, refit
    found = list(estimates(network.copy(), parts, *rest))
    given = batches, reference, None, refit
    return found, [try_part(network.copy(), part, *given) for part in parts]


def test_it_is_exact_where_nothing_is_nonlinear():
    """Chains, a layer that two parts change, and a group that two layers read."""
    network, batches = linear()
    parts = parts_of(network)
    assert {len(part.changes) for part in parts} == {1, 2}
    for found, wanted in zip(*both(network, parts, batches), strict=True):
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-12)
        assert max(found) > 0.01


def test_random_signs_serve_many_outputs():
    network, batches = linear(outputs=5)
    parts = parts_of(network)
    for found, wanted in zip(*both(network, parts, batches), strict=True):
        spread = 4 * sqrt(2 / (16 * estimate.DRAWS[1]))  # of a mean of squares, four times
        assert found == pytest.approx(wanted, rel=spread)


def test_room_changes_nothing(monkeypatch):
    network, batches = linear()
    parts = parts_of(network)
    before, _ = both(network, parts, batches)
    monkeypatch.setattr(estimate, "ROOM", 1)
    after, _ = both(network, parts, batches)
    for found, wanted in zip(after, before, strict=True):
        assert found == pytest.approx(wanted, rel=1e-9)


def test_gradients_are_those_of_the_outputs():
    network, batches = linear(outputs=3)
    nodes = [layer.node for layer in layers(network)]
    pulls = list(output_pulls(network, nodes, batches[0], [2.0], 3, torch.manual_seed(0)))
    assert [pull.node for pull in pulls] == nodes
    signs = torch.manual_seed(0)
    for draw in range(3):
        v = (2 * torch.randint(2, (8, 3), generator=signs) - 1).double() / 2
        torch.testing.assert_close(pulls[-1].gradients[draw], v)
    last = network.tensor(next(iter(layers(network))).weight_node)
    assert last.grad is None


@cache
def resnet20():
    model = MODELS["resnet20"]
    network = capture(model.load(), model.example())
    simplify(network)
    images = model.normalize(cifar10_train()[0][:128])
    return network, samples(network, list(images.split(32)))


@needs_assets
def test_a_real_network_is_damaged_about_as_much():
    network, batches = resnet20()
    parts = parts_of(network, batches)[3::6]
    assert {len(part.changes) for part in parts} >= {1}
    for part, found, wanted in zip(parts, *both(network, parts, batches), strict=True):
        for way, value, truth in zip(part.ways, found, wanted, strict=True):
            assert truth / 3 < value < 3 * truth or truth < 1e-4, (part.name, way)


@pytest.mark.parametrize("step", [torch.sign, lambda x: (x > 0).float()])
def test_what_has_no_gradient_is_tried(step):
    """The estimates are 0 where nothing passes back, so that the network has to run."""
    inside = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), Step(step), nn.Flatten()
    model = nn.Sequential(*inside)
    network = capture(model, nets.images(2))
    batches = samples(network, list(nets.images(32).split(8)))
    parts = parts_of(network)
    reference = outputs_of(network, batches[len(batches) // 2 :])
    alone = [try_part(network.copy(), part, batches, reference) for part in parts]
    assert damages(network, parts, Sweep(batches)) == alone
    assert noise_to_signal(reference, reference) == 0
    assert any(max(values) > 0 for values in alone)


class Step(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, x):
        return self.step(x)
