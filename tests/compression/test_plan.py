"""Parts, what their ways do, and the ways that fit into a budget."""

import pytest
import torch
from joblib import parallel_config
from torch import nn

from tersor.compression.budget import TooSmallError
from tersor.compression.chain_fit import Refit
from tersor.compression.counts import Counts
from tersor.compression.meter import Counted
from tersor.compression.parts import group_parts, layer_parts
from tersor.compression.plan import Execution, carry_out, ways_within
from tersor.compression.scores import scorer
from tersor.compression.sweep import Sweep, damages, try_part
from tersor.compression.ways import Factored, Pruned
from tersor.data.given.samples import samples
from tersor.data.outputs.outputs import noise_to_signal
from tersor.data.runs.journal import Journal
from tersor.data.walk.one_at_a_time import outputs_of
from tersor.frontend.capture import capture
from tersor.graph.costs import costs, total
from tersor.graph.simplify import simplify
from tests import nets
from tests.captured import captured
from tests.zoo import ZOO

RATIOS = (0.8, 0.6, 0.4)


@pytest.fixture(scope="module")
def network():
    return capture(*nets.with_example())


@pytest.fixture(scope="module")
def batches(network):
    return samples(network, nets.images(32))


@pytest.fixture(scope="module")
def counts(network):
    return Counts(network)


@pytest.fixture(scope="module")
def parts(counts):
    return parts_of(counts, ["spatial", "svd"])


def parts_of(counts, methods):
    score = scorer(counts.network, counts.groups.found, [], "magnitude")
    layers, _ = layer_parts(counts, methods, RATIOS)
    units, _ = group_parts(counts, score, RATIOS)
    return [*layers, *units]


def macs(network):
    return total(costs(network).values()).macs


def flat(lost):
    return [value for values in lost for value in values]


def noise(outputs, reference):
    """The damage as a metric of the user's, for which every way is carried out."""
    return noise_to_signal([outputs], [reference])


def every_way(parts):
    return [way for part in parts for way in part.ways]


def test_there_are_layers_and_groups(parts):
    kinds = {type(way) for way in every_way(parts)}
    assert kinds == {Factored, Pruned}


def test_shares_are_those_of_the_edited_network(counts, parts):
    each = counts.each
    for part in parts:
        for way, left in zip(part.ways, part.shares, strict=True):
            edited = carry_out(counts, [way], Execution())
            expected = sum(
                cost.macs * (left[name].macs if name in left else 1) for name, cost in each.items()
            )
            assert macs(edited) == pytest.approx(expected)
            assert macs(edited) == counts.cost([way]).macs


def test_damage_without_refit_is_that_of_the_edited_network(network, counts, parts, batches):
    """Pruning is zeros in weights: the cut network returns the same. Without BatchNorm in between
    nothing is fitted, so damping that keeps the weights shows the plain cut."""
    still = Refit(steps=0, damping=1e9)
    (group,) = [part for part in parts if isinstance(part.ways[0], Pruned)]
    judging = batches[len(batches) // 2 :]
    reference = [network(*args) for args, _ in judging]
    found = try_part(network, group, batches, reference, refit=still)
    for way, value in zip(group.ways, found, strict=True):
        edited = carry_out(counts, [way], Execution())
        moved = [edited(*args) for args, _ in judging]
        centered = [y - y.mean(0) for y in moved], [x - x.mean(0) for x in reference]
        assert value <= noise_to_signal(moved, reference) * 1.01
        assert value == pytest.approx(noise_to_signal(*centered), rel=1.0)


def test_more_is_worse(network, parts, batches):
    for values in damages(network, parts, Sweep(batches)):
        assert all(value >= 0 for value in values)
        assert values[-1] >= values[0] * 0.5


def test_parts_in_one_walk_are_as_each_alone():
    """Also where a layer is changed by two parts, and a part changes several layers."""
    network = captured("resnet")
    simplify(network)
    found = parts_of(Counts(network), ["spatial"])
    changed = [name for part in found for name in part.changes]
    assert len(set(changed)) < len(changed)
    assert {len(part.changes) > 1 for part in found} == {True, False}
    batches = [(ZOO["resnet"].args(torch.float64, batch=4, seed=seed), {}) for seed in (0, 1)]
    reference = outputs_of(network, batches[1:])
    alone = [try_part(network.copy(), part, batches, reference) for part in found]
    together = damages(network, found, Sweep(batches, noise))
    assert flat(together) == pytest.approx(flat(alone))


def test_processes_find_the_same(network, parts, batches):
    alone = damages(network, parts, Sweep(batches, noise))
    with parallel_config(backend="loky", inner_max_num_threads=1):
        found = damages(network, parts, Sweep(batches, noise, jobs=2))
    assert flat(found) == pytest.approx(flat(alone), rel=1e-3)


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_a_cluster_finds_the_same(network, parts, batches):
    ray = pytest.importorskip("ray", reason="needs Ray")
    from ray.util.joblib import register_ray

    alone = damages(network, parts[:2], Sweep(batches, noise))
    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with parallel_config(backend="ray"):
            found = damages(network, parts[:2], Sweep(batches, noise, jobs=2))
    finally:
        ray.shutdown()
    assert flat(found) == pytest.approx(flat(alone), rel=1e-3)


def test_a_run_that_was_stopped_goes_on(network, parts, batches, tmp_path):
    alone = damages(network, parts, Sweep(batches))
    journal = Journal(tmp_path, {"network": "a"})
    done = []
    damages(network, parts[:2], Sweep(batches, journal=journal))
    found = damages(
        network, parts, Sweep(batches, journal=journal, on_part=lambda *args: done.append(args[:2]))
    )
    assert flat(found) == pytest.approx(flat(alone))
    assert done == [(n + 1, len(parts)) for n in range(len(parts))]


@pytest.mark.parametrize("rule", ["least loss", "equal loss"])
@pytest.mark.parametrize("share", [0.9, 0.6, 0.4])
def test_the_budget_is_met(network, counts, parts, batches, rule, share):
    lost = damages(network, parts, Sweep(batches))
    budget = int(share * macs(network))
    ways = ways_within(Counted(counts), parts, lost, budget, rule)
    edited = carry_out(counts, ways, Execution(batches))
    assert macs(edited) == counts.cost(ways).macs
    assert macs(edited) <= budget
    with torch.no_grad():
        assert edited(nets.images(3)).isfinite().all()


def test_what_is_left_of_the_budget_is_spent_on_single_channels():
    """Half or all of 40 channels were tried; a budget in between is used all the same."""
    model = nn.Sequential(nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Conv2d(40, 3, 3)).eval()
    counts = Counts(capture(model, torch.randn(2, 3, 8, 8)))
    score = scorer(counts.network, counts.groups.found, [], "magnitude")
    (part,) = group_parts(counts, score, [0.5])[0]
    for share in (0.6, 0.83):
        (way,) = ways_within(Counted(counts), [part], [(1.0,)], int(share * counts.whole.macs))
        assert isinstance(way, Pruned)
        assert sum(way.keep) == int(share * 40)
        assert all(now >= tried for now, tried in zip(way.keep, part.ways[0].keep, strict=True))


def test_nothing_is_done_where_all_fits(network, counts, parts, batches):
    lost = damages(network, parts, Sweep(batches))
    assert ways_within(Counted(counts), parts, lost, macs(network)) == []


def test_a_budget_that_is_too_small_says_what_can_be_had(network, counts, parts, batches):
    lost = damages(network, parts, Sweep(batches))
    with pytest.raises(TooSmallError, match="a budget of 100 is too small") as refused:
        ways_within(Counted(counts), parts, lost, 100)
    least = refused.value.least
    assert counts.cost(ways_within(Counted(counts), parts, lost, least)).macs == least
    with pytest.raises(TooSmallError):
        ways_within(Counted(counts), parts, lost, least - 1)
