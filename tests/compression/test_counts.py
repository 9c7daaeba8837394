"""Costs in closed form, against networks that are pruned and factorized, and counted then."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.compression.counts import Counts
from tersor.compression.factorize import Factorization, factorize, method_of, rank_for, refusal
from tersor.compression.prune import prune_groups
from tersor.compression.ways import Factored, Pruned
from tersor.graph.costs import Cost, costs, total
from tersor.graph.layers import layers
from tersor.graph.simplify import simplify
from tersor.names import METHODS
from tests.captured import captured
from tests.compression.masks import random_keep
from tests.zoo import ZOO


@cache
def counted(name) -> Counts:
    network = captured(name)
    simplify(network)
    return Counts(network)


def chains_of(network, method, ratio, every):
    """Some of the layers as chains."""
    found = [layer for layer in layers(network) if refusal(layer) is None][::every]
    kinds = [(layer, method_of(layer, method)) for layer in found]
    ranked = [(layer, kind, rank_for(layer, kind, ratio)) for layer, kind in kinds]
    return [Factored(layer.name, kind, ratio, r) for layer, kind, r in ranked if r is not None]


def really(network, keep, chains):
    """What each layer costs once it has been cut and replaced, in a copy."""
    edited = network.copy()
    if keep:
        prune_groups(edited, keep)
    wanted = {way.layer: way for way in chains}
    for layer in [layer for layer in layers(edited) if layer.name in wanted]:
        way = wanted[layer.name]
        ranks = rank_for(layer, way.method, way.ratio)
        if ranks is not None:
            factorize(layer, Factorization(way.method, ranks))
    return costs(edited)


def came_from(part, names):
    """The layer that a factor replaces: that of `fc1.0`, or of `kernel_0_weight`."""
    if part in names:
        return part
    flat = part.removesuffix("_weight").replace(".", "_").rpartition("_")[0]
    (name,) = (name for name in names if name.replace(".", "_") == flat)
    return name


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(sorted(ZOO)),
    share=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 3),
    method=st.sampled_from(METHODS),
    ratio=st.sampled_from([0.3, 0.6, 0.9]),
    every=st.integers(1, 3),
)
def test_pruned_and_factorized_together(name, share, seed, method, ratio, every):
    counts = counted(name)
    chains = chains_of(counts.network, method, ratio, every)
    keep = random_keep(counts.network, share, seed)
    pruned = [Pruned(group, tuple(mask.tolist())) for group, mask in keep.items()]
    found = really(counts.network, keep, chains)
    assert counts.cost([*pruned, *chains]) == total(found.values())
    after, whole = counts.after([*pruned, *chains]), dict.fromkeys(counts.each, Cost())
    for part, cost in found.items():
        whole[came_from(part, whole)] += cost
    assert after == whole


@pytest.mark.parametrize("name", ZOO)
def test_nothing_done(name):
    counts = counted(name)
    assert counts.each == costs(counts.network)
    assert counts.whole == total(costs(counts.network).values())


@pytest.mark.parametrize("name", ["resnet", "grouped", "shufflenet", "shared_conv"])
def test_what_is_expected_of_chances_is_a_mean_over_masks(name):
    """Units that stay or go by chance, one layer at a time: E[MACs] is exact where sides differ."""
    counts = counted(name)
    group = counts.groups.found[0]
    generator = torch.Generator().manual_seed(0)
    chances = torch.full((len(group),), 0.5, dtype=torch.float64)
    every = {g.name: torch.ones(len(g), dtype=torch.float64) for g in counts.groups.found}
    costs_seen = []
    for _ in range(400):
        keep = torch.rand(len(group), generator=generator) < 0.5
        costs_seen.append(float(counts.expected({**every, group.name: keep.double()})))
    mean = float(counts.expected({**every, group.name: chances}))
    assert sum(costs_seen) / 400 == pytest.approx(mean, rel=0.05)
