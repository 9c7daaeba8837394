"""What budgets count: MACs, parameters and time, of ways alone and together."""

import math

import pytest
import torch
from torch import nn

from tersor.compression.counts import Counts
from tersor.compression.meter import Counted, Timed, hollow, outline
from tersor.compression.parts import group_parts, layer_parts
from tersor.compression.plan import Execution, carry_out, ways_within
from tersor.compression.scores import scorer
from tersor.compression.ways import Pruned
from tersor.core.ranks import aligned
from tersor.frontend.capture import capture
from tersor.graph.costs import costs, total
from tersor.graph.shapes import shapes
from tests import nets


class Residual(nn.Module):
    """A stream that a block adds to."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.inner = nn.Conv2d(16, 24, 3, padding=1)
        self.back = nn.Conv2d(24, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.head((x + self.back(self.inner(x).relu())).relu())


RATIOS = (0.8, 0.6, 0.4)


def blocks(calls):
    """Like kernels that compute eight channels at a time, and start slowly."""
    return {call: 100 + math.prod(-(-n // 8) * 8 for n in call.weight[:2]) for call in calls}


@pytest.fixture(scope="module", params=["plain", "residual"])
def network(request):
    if request.param == "plain":
        return capture(*nets.with_example())
    return capture(Residual().eval(), torch.randn(1, 3, 8, 8))


@pytest.fixture(scope="module")
def counts(network):
    return Counts(network)


@pytest.fixture(scope="module")
def parts(counts):
    score = scorer(counts.network, counts.groups.found, [], "magnitude")
    return [
        *layer_parts(counts, ["spatial"], RATIOS)[0],
        *group_parts(counts, score, RATIOS)[0],
    ]


def time_of(counts, ways):
    """What the calls of a network with some ways add up to."""
    found = [call for _, call in outline(counts, ways)]
    return sum(blocks(found)[call] for call in found)


def every(parts):
    return [way for part in parts for way in part.ways]


def test_a_hollow_network_has_the_shapes_of_the_real_one(counts, parts):
    some = [part.ways[-1] for part in parts]
    real, (empty, names) = carry_out(counts, some, Execution()), hollow(counts, some)
    assert {str(n): s for n, s in shapes(empty).items()}.items() >= {
        str(n): s for n, s in shapes(real).items() if n.op == "call_function"
    }.items()
    assert total(costs(empty).values()) == total(costs(real).values()) == counts.cost(some)
    assert set(names.values()) == set(counts.each)


def test_what_ways_leave_alone_is_their_time_over_that_before(counts, parts):
    meter = Timed(counts, blocks)
    left, each = meter.left(parts), meter.each
    for way in every(parts):
        after = sum(each[name] * (left[way].get(name, 1)) for name in each)
        assert after == pytest.approx(time_of(counts, [way]))


def test_chains_of_a_layer_add_up_under_its_name(counts, parts):
    chains = [part.ways[0] for part in parts if not isinstance(part.ways[0], Pruned)]
    names = [name for name, _ in outline(counts, chains)]
    for way in chains:
        assert names.count(way.layer) == 2


def test_counted_is_what_the_layers_cost(counts, parts):
    meter = Counted(counts)
    left, each = meter.left(parts), meter.each
    for way in every(parts):
        after = sum(each[name] * (left[way].get(name, 1)) for name in each)
        assert after == pytest.approx(meter.cost([way]))


def test_a_budget_of_time_is_met_by_single_parts(counts, parts):
    lost = [tuple(float(n + 1) for n in range(len(part.ways))) for part in parts]
    whole = time_of(counts, [])
    for part, values in zip(parts, lost, strict=True):
        least = min(time_of(counts, [way]) for way in part.ways)
        if least < whole:
            ways = ways_within(Timed(counts, blocks), [part], [values], least)
            assert time_of(counts, ways) == pytest.approx(least, abs=1)


def test_ranks_become_multiples_where_that_saves():
    weight = torch.randn(64, 64, 3, 3)
    assert aligned("spatial", weight, (27,), 8, lambda ranks: True) == (32,)
    assert aligned("spatial", weight, (27,), 8, lambda ranks: ranks[0] < 30) == (24,)
    assert aligned("spatial", weight, (5,), 8, lambda ranks: ranks[0] < 8) == (5,)
    assert aligned("tucker", weight, (17, 9), 8, lambda ranks: True) == (24, 16)


def test_channels_become_multiples_where_there_are_more():
    network = capture(
        nn.Sequential(
            nn.Conv2d(3, 20, 3),
            nn.ReLU(),
            nn.Conv2d(20, 6, 3),
            nn.ReLU(),
            nn.Conv2d(6, 2, 3),
        ).eval(),
        torch.randn(1, 3, 12, 12),
    )
    counts = Counts(network)
    score = scorer(network, counts.groups.found, [], "magnitude")
    wide, narrow = group_parts(counts, score, RATIOS, 8)[0]
    assert [sum(way.keep) for way in wide.ways] == [16, 8]
    assert [sum(way.keep) for way in narrow.ways] == [5, 4, 2]
