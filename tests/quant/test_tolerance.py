"""Layers stay in floating point until the outputs are within a tolerance, and no more than that."""

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import tersor
from tersor.api.frame import Frame
from tersor.api.steps import place_with_data
from tersor.core.metrics import sqnr
from tersor.data.outputs.figures import Figure
from tersor.data.outputs.output_parts import Part
from tersor.errors import InvalidInputError
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture
from tersor.graph.layers import layers
from tersor.quant.in_float import float_search
from tersor.quant.in_float.float_search import search
from tersor.quant.in_float.proven import proven
from tersor.quant.levels import WithData
from tersor.quant.noise.noise_shares import noise_shares, weight_readers
from tersor.quant.placement.kept import ACCURATE, NOTHING, Mixtures
from tersor.quant.schemes import ONNXRUNTIME_CPU
from tersor.quant.tolerance import Attempt, Judge, Rounded, Tolerance
from tests.far_ranges import pictures, ranges

NEAREST = WithData(rounding=None)
X = pictures(32, seed=1)
PARTS = slice(8), slice(8, None)


def told(q):
    return [record for record in q.records if record.step == "tolerance"]


def in_float(q):
    return {record.layer for record in q.records if getattr(record, "reason", "") == ACCURATE}


def parts_in_runtime(q, model, folder, x):
    path = q.export(folder / "q.onnx").path
    (given_,) = Runtime(path).run(Runtime(path).feed(x)).values()
    wanted, given_ = model(x).detach(), torch.from_numpy(given_)
    return [sqnr(wanted[:, part], given_[:, part]) for part in (slice(8), slice(8, None))]


def test_a_concatenation_of_far_ranges_is_kept_in_the_runtime(tmp_path):
    model, unseen = ranges(), pictures(32, seed=1)
    plain = tersor.quantize(model, data=pictures(32), tolerance=None)
    assert not told(plain)
    assert parts_in_runtime(plain, model, tmp_path, unseen)[1] < 10
    q = tersor.quantize(model, data=pictures(32), tolerance=30.0)
    assert min(parts_in_runtime(q, model, tmp_path, unseen)) > 28
    assert "last" in in_float(q) != {"body.0", "large", "small", "last"}
    assert in_float(q) == {record.layer for record in told(q)[:-1]}
    assert "reaches" in told(q)[-1].what
    assert "instead of" in told(q)[-1].what


def test_a_verdict_that_would_be_bad_is_mended_by_default_and_that_is_told(tmp_path):
    q = tersor.quantize(ranges(), data=pictures(32))
    x = pictures(32, seed=1)
    assert min(parts_in_runtime(q, ranges(), tmp_path, x)) > 20
    assert "last" in in_float(q) != {"body.0", "large", "small", "last"}
    assert in_float(q) == {record.layer for record in told(q)[:-1]}
    assert "the verdict would have been bad" in told(q)[-1].what
    assert "tolerance=None" in told(q)[-1].what


def test_scores_that_are_not_good_are_mended_by_default_other_parts_if_they_are_bad():
    network = capture(ranges(), pictures(2))

    def needs_float(kind, decibels, single=False):
        figures = (Figure(Part("y", kind, single=single), decibels),)
        result = Rounded(network, network, frozenset())
        return Attempt(NOTHING, result, figures, torch.ones(1)).needs_float

    assert needs_float("scores", 15.0)
    assert not needs_float("scores", 25.0)
    assert needs_float("scores", 25.0, single=True)
    assert not needs_float("scores", 31.0, single=True)
    assert not needs_float("values", 15.0)
    assert needs_float("values", 5.0)


def test_where_leaving_layers_in_float_is_too_slow_the_default_says_so(monkeypatch):
    monkeypatch.setattr("tersor.quant.placement.kept.SHORTEST", 0.0)
    monkeypatch.setattr(Mixtures, "time", lambda self, kept: 1.1 if kept else 0.5)
    q = tersor.quantize(ranges(), data=pictures(32))
    (record,) = told(q)
    assert "does not mend it" in record.reason
    assert not in_float(q)


def test_what_cannot_be_held_is_said_and_the_best_is_given(tmp_path):
    q = tersor.quantize(ranges(), data=pictures(32), tolerance=150.0)
    assert "the tolerance is not met" in told(q)[-1].reason
    assert min(parts_in_runtime(q, ranges(), tmp_path, pictures(32, seed=1))) > 28


def test_good_outputs_are_left_alone_and_bits_are_the_users():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 4)).eval()
    left = tersor.quantize(model, data=pictures(16))
    same = tersor.quantize(model, data=pictures(16), tolerance=None)
    assert not told(left)
    x = pictures(8, seed=2)
    assert torch.equal(left(x), same(x))
    assert not told(tersor.quantize(ranges(), data=pictures(16), weights=8))
    (record,) = told(tersor.quantize(model, data=pictures(16), tolerance=20.0))
    assert "held back" in record.what


def test_a_metric_of_ones_own_is_held():
    def error(outputs, reference):
        return float((outputs - reference)[:, 8:].detach().abs().mean())

    allowed = Tolerance(metric=error, damage=0.01)
    q = tersor.quantize(ranges(), data=pictures(32), tolerance=allowed)
    assert "last" in in_float(q)
    x = pictures(32, seed=3)
    assert error(q(x), ranges()(x)) < 0.02
    with pytest.raises(InvalidInputError, match="together"):
        Tolerance(metric=error)


def test_a_tolerance_needs_samples():
    with pytest.raises(InvalidInputError, match="give data="):
        tersor.quantize(ranges(), pictures(2), tolerance=20.0)


@pytest.fixture(scope="module")
def problem():
    """A network, its mixtures, and how it is quantized, with samples that nothing learns from."""
    network = capture(ranges(), pictures(2))
    frame, batches = Frame(ONNXRUNTIME_CPU), [((pictures(8, seed),), {}) for seed in range(3)]

    def quantized(kept):
        return place_with_data(network.copy(), replace(frame, kept=kept), batches[:2], NEAREST)

    first = quantized(NOTHING)
    judge = Judge(network, batches[2:], Tolerance(20.0))
    noise = noise_shares(first.network, first.prepared, batches[2:], judge.parts)
    integer = weight_readers(first.network)
    of_float = [layer for layer in layers(network) if layer.node.name in integer]
    assert len(of_float) == 4
    return network, Mixtures(network, ONNXRUNTIME_CPU, of_float, (), noise), batches, quantized


def test_what_fails_in_the_runtime_alone_is_mended_there(problem):
    """A runtime that adds noise of 20 dB while fewer than three layers are in float."""
    network, mixtures, batches, quantized = problem
    tolerance = Tolerance(25.0)
    judge = Judge(network, batches[2:], tolerance)
    start = judge.attempt(NOTHING, quantized(NOTHING))
    best = search(start, mixtures, judge.measure(quantized), tolerance)
    assert best.meets
    measured = []

    def run(result, given):
        outputs = [result(*args) for args, _ in given]
        in_float = sum(getattr(x, "reason", "") == ACCURATE for x in result.records)
        measured.append(in_float)
        return [[y if in_float > 2 else 1.1 * y] for y in outputs]

    found = proven(best, mixtures, judge.in_runtime(run), quantized, tolerance)
    assert measured[0] < 3 <= measured[-1]
    assert sorted(measured) == measured
    assert found.meets
    assert len(mixtures.layers(found.kept)) == measured[-1]


def test_the_last_layer_in_integers_is_the_one_that_leaves_least_noise(problem):
    network, mixtures, *_ = problem
    kept = mixtures.least(torch.full_like(mixtures.noise(NOTHING), 1e-12))
    names = {layer.node.name for layer in layers(network)}
    (left,) = names - kept
    noise = {name: float(mixtures.noise((kept | {left}) - {name}).sum()) for name in names}
    assert noise[left] == min(noise.values()) < max(noise.values())


@settings(max_examples=8)
@example(decibels=39.0)  # one that would just do, and is not tried: its predicted noise is too high
@given(decibels=st.floats(10, 70))
def test_the_set_meets_the_bound_or_is_the_best_and_no_layer_can_go_back(problem, decibels):
    network, mixtures, batches, quantized = problem
    tolerance = Tolerance(decibels)
    judge = Judge(network, batches[2:], tolerance)
    start = judge.attempt(NOTHING, quantized(NOTHING))
    best = search(start, mixtures, judge.measure(quantized), tolerance)
    assert best.worst <= start.worst
    ((args, _),) = batches[2:]
    y, z = network(*args), best.result.network(*args)
    noise = min(sqnr(part.of(y), part.of(z)) for _, part in judge.parts)
    assert best.meets == (noise >= decibels - 1e-3)
    if best.meets:
        for name in best.kept:
            again = mixtures.pruned(best.kept - {name})
            slower = mixtures.time(again) > mixtures.time(best.kept)
            hopeless = float_search._grown(again, best, mixtures) > float_search._HOPELESS
            assert slower or hopeless or not judge.attempt(again, quantized(again)).meets


def test_a_score_that_decides_alone_gets_more(tmp_path):
    net = nn.Sequential(ranges(), nn.Conv2d(16, 1, 12), nn.Flatten(), nn.Sigmoid())
    with torch.no_grad():
        net[1].get_parameter("weight").mul_(8)[:, :8] = 0  # it hears the small range alone
    unseen = pictures(64, seed=1)

    def in_runtime(q):
        (found,) = Runtime(q.export(tmp_path / "q.onnx").path)((unseen,)).values()
        return sqnr(net(unseen).detach(), torch.from_numpy(found))

    assert 20 < in_runtime(tersor.quantize(net, data=pictures(64), tolerance=None)) < 29
    q = tersor.quantize(net, data=pictures(64))
    assert "keeps them in integers" in told(q)[-1].what
    assert in_runtime(q) > 29


@pytest.mark.parametrize(("little", "solved"), [(0.0, True), (1.0, False)])
def test_the_solver_rests_where_weights_make_little_noise(monkeypatch, little, solved):
    monkeypatch.setattr("tersor.quant.in_float.within._LITTLE", little)
    q = tersor.quantize(ranges(), data=pictures(32))
    assert any(record.step == "round" for record in q.records) == solved
    assert ("little of the noise is theirs" in told(q)[-1].what) != solved
    assert min(sqnr(ranges()(X)[:, part], q(X)[:, part]) for part in PARTS) > 20


def test_a_solver_that_was_asked_for_does_not_rest(monkeypatch):
    monkeypatch.setattr("tersor.quant.in_float.within._LITTLE", 1.0)
    q = tersor.quantize(ranges(), data=pictures(32), options=NEAREST)
    assert any(record.step == "correct bias" for record in q.records)
    assert "little of the noise" not in told(q)[-1].what
