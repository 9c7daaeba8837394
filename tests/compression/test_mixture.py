"""Mixtures of pruning and factorization: tried as a whole, and never worse than either alone."""

from math import inf

import pytest
import torch

from tersor.compression import mixture
from tersor.compression.counts import Counts
from tersor.compression.meter import Counted
from tersor.compression.mixture import WEIGHTS, Mixture, best_mixture, weighed
from tersor.compression.parts import group_parts, layer_parts
from tersor.compression.plan import Execution, carry_out, ways_within
from tersor.compression.reconstruct import Reconstruct
from tersor.compression.scores import scorer
from tersor.compression.sweep import Sweep, damages, halves
from tersor.compression.ways import Pruned
from tersor.data.given.samples import samples
from tersor.data.outputs.outputs import damage
from tersor.data.walk.one_at_a_time import outputs_of
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.network import Applied
from tests import nets

RATIOS = (0.8, 0.6, 0.4)
NETWORK = capture(*nets.with_example())
BATCHES = samples(NETWORK, list(nets.images(32).split(8)))
COUNTS = Counts(NETWORK)
HALF = COUNTS.whole.macs // 2


@pytest.fixture(scope="module")
def tried():
    """Parts, their damages, and the sweep."""
    score = scorer(NETWORK, COUNTS.groups.found, [], "magnitude")
    layers, _ = layer_parts(COUNTS, ["spatial"], RATIOS)
    units, _ = group_parts(COUNTS, score, RATIOS)
    parts, sweep = [*layers, *units], Sweep(BATCHES)
    return parts, damages(NETWORK, parts, sweep), sweep


def choosing(tried, budget=HALF):
    """The ways that a weight chooses."""
    parts, found, _ = tried
    return lambda mixture: ways_within(Counted(COUNTS), *weighed(parts, found, mixture), budget)


def lost(tried, weight):
    """The damage of a mixture to samples that did not fit it, measured here again."""
    sweep = tried[2]
    ways = choosing(tried)(Mixture(weight))
    execution = Execution(halves(BATCHES)[0], None, sweep.refit, Reconstruct())
    made = carry_out(COUNTS, ways, execution)
    with torch.no_grad():
        got, wanted = (
            [net(*args, **kwargs) for args, kwargs in halves(BATCHES)[1]] for net in (made, NETWORK)
        )
    return damage(got, wanted)


def test_the_ends_are_one_kind_alone(tried):
    parts, found, _ = tried
    kinds = {w: {type(p.ways[0]) for p in weighed(parts, found, Mixture(w))[0]} for w in (0.0, inf)}
    assert kinds[0.0] == {Pruned}
    assert Pruned not in kinds[inf]
    kept, values = weighed(parts, found, Mixture(4.0))
    assert kept == parts
    for part, before, after in zip(parts, found, values, strict=True):
        factor = 4 if isinstance(part.ways[0], Pruned) else 1
        assert after == pytest.approx([factor * x for x in before])


def test_the_best_of_all_is_taken(tried, monkeypatch):
    network = NETWORK.copy()
    parts, alone, sweep = tried
    choose = choosing(tried)
    monkeypatch.setattr(mixture, "_FAR", inf)
    found = best_mixture(Counts(network), parts, alone, choose, sweep, Reconstruct())
    record = network.records[-1]
    assert isinstance(record, Applied)
    every = dict(zip(WEIGHTS, record.numbers.values(), strict=True))
    best, worst = (which(every, key=lambda weight: every[weight]) for which in (min, max))
    assert every[best] < every[worst]
    assert found == choose(Mixture(best))
    for weight in (best, worst):
        assert lost(tried, weight) == pytest.approx(every[weight], rel=1e-4)


def test_nothing_to_mix(tried):
    parts, found, sweep = tried
    pruned, lost = weighed(parts, found, Mixture(0.0))
    alone = ways_within(Counted(COUNTS), pruned, lost, HALF)
    given = COUNTS, pruned, lost, lambda _: alone
    assert best_mixture(*given, sweep, Reconstruct()) == alone
    choose = choosing(tried)
    given = COUNTS, parts, found, choose
    assert best_mixture(*given, Sweep([]), Reconstruct()) == choose(Mixture())
    assert not any(record.step == "mix" for record in NETWORK.records)


def test_a_budget_that_no_mixture_meets(tried):
    parts, alone, sweep = tried
    with pytest.raises(InvalidInputError, match="too small"):
        best_mixture(COUNTS, parts, alone, choosing(tried, 1), sweep, Reconstruct())


def test_what_is_far_worse_by_its_parts_is_not_carried_out(tried):
    """The damages of one kind are a thousandth of what they were."""
    network, choose = NETWORK.copy(), choosing(tried)
    parts, alone, sweep = tried
    factors = [1e-3 if isinstance(part.ways[0], Pruned) else 1.0 for part in parts]
    alone = [tuple(f * x for x in each) for f, each in zip(factors, alone, strict=True)]
    found = best_mixture(Counts(network), parts, alone, choose, sweep, Reconstruct())
    assert found == choose(Mixture(0.0)) or found == choose(Mixture())
    record = network.records[-1]
    assert isinstance(record, Applied)
    assert "pruning alone" in record.numbers
    assert "factorization alone" not in record.numbers


def test_outputs_and_halves():
    fitting, judging = halves(BATCHES)
    assert [len(x) for x in (fitting, judging)] == [4, 4]
    assert [len(x) for x in halves(BATCHES[:1])] == [1, 1]
    assert halves([]) == ([], [])
    with torch.no_grad():
        expected = [NETWORK(*args) for args, _ in judging]
    for got, wanted in zip(outputs_of(NETWORK, judging), expected, strict=True):
        torch.testing.assert_close(got, wanted)
