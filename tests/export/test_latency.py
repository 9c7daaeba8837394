"""Timing stops as soon as the ratio is sure, and not before."""

import numpy as np
import pytest
import torch
from torch import nn

from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions import latency
from tersor.export.sessions.latency import is_sure, measure_latency, slowdown
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture

RNG = np.random.default_rng(0)


class Steady(Runtime):
    """A runtime whose runs take as long as a list says."""

    def __init__(self, path, config=(), threads=None):
        self.path, self.runs = path, 0

    def feed(self, batch):
        return batch

    def split(self, feed, size):
        yield feed

    def renamed(self, feed):
        return feed

    def run(self, feed):
        self.runs += 1


def measured(monkeypatch, seconds, **options):
    """Latency where a run of the file `path` takes `seconds(path)`."""
    monkeypatch.setattr(latency, "_seconds", lambda runtime, *_: seconds(runtime.path))
    return measure_latency("float", "int8", {"x": np.zeros(1)}, load=Steady, **options)


def test_an_even_ratio_needs_few_rounds(monkeypatch):
    found = measured(monkeypatch, {"float": 0.02, "int8": 0.01}.__getitem__, enough=0.03)
    assert (found.ratio, found.rounds) == (0.5, 7)


def test_an_uneven_one_needs_all_of_them(monkeypatch):
    found = measured(monkeypatch, lambda _: RNG.uniform(1e-3, 3e-3), enough=0.03)
    assert found.rounds == 25


def test_slow_networks_need_few_rounds(monkeypatch):
    found = measured(monkeypatch, lambda _: RNG.uniform(1.0, 3.0), enough=0.03)
    assert found.rounds == 3


@pytest.mark.parametrize(("int8", "rounds"), [([0.2] * 9, 3), ([0.2, 0.25, *[0.2] * 9], 5)])
def test_three_rounds_that_take_long_suffice_if_they_agree(monkeypatch, int8, rounds):
    taken = {"float": iter([0.5] * 99), "int8": iter([9.0, *int8])}  # the first run does not count
    found = measured(monkeypatch, lambda path: next(taken[path]), enough=0.03)
    assert (found.rounds, found.ratio) == (rounds, 0.4)


@pytest.mark.parametrize(("int8", "least", "most"), [(1.0, 50, 50), (2.0, 0, 10), (3.0, 50, 50)])
def test_a_long_measurement_ends_when_it_has_told_who_is_faster(monkeypatch, int8, least, most):
    rng, middle = np.random.default_rng(1), {"float": 0.02, "int8": 0.01 * int8}

    def is_told():
        noisy = lambda x: rng.normal(middle[x], 0.06 * middle[x])  # noqa: E731
        return measured(monkeypatch, noisy, enough=0.01).rounds < 25

    assert least <= sum(is_told() for _ in range(50)) <= most


def test_all_rounds_are_run_where_nothing_else_is_asked(monkeypatch):
    assert measured(monkeypatch, lambda _: 1.0, rounds=11).rounds == 11


@pytest.mark.parametrize("count", [7, 11, 25])
def test_a_sure_ratio_is_within_its_share_of_the_true_median(count):
    tries = [RNG.lognormal(0.0, 0.03, count).tolist() for _ in range(2000)]
    sure = [ratios for ratios in tries if is_sure(ratios, 0.03)]
    wrong = [ratios for ratios in sure if abs(np.median(ratios) - 1) > 0.03]
    assert len(sure) > 50
    assert len(wrong) < 0.05 * len(sure)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (lambda: 1.4, 1.4),
        (lambda: 1.08, 1.0),
        (lambda: 0.7, 1.0),
        (iter([1.4, 1.4, 1.05] * 99).__next__, 1.0),
    ],
)
def test_only_what_is_clearly_slower_is_called_so(monkeypatch, seconds, told):
    monkeypatch.setattr(latency, "Runtime", Steady)
    taken = {"float": lambda: 1.0, "int8": seconds}
    monkeypatch.setattr(latency, "_seconds", lambda runtime, *_: taken[runtime.path]())
    assert slowdown("float", "int8", {"x": np.zeros(1)}) == pytest.approx(told)


def test_the_time_of_a_larger_network_is_longer(tmp_path):
    """Real files, in both directions."""
    files = []
    for width in (32, 256):
        net = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width)).eval()
        files.append(export_onnx(capture(net, torch.rand(64, 16)), tmp_path / f"{width}.onnx").path)
    batch = {"input": np.zeros((64, 16), np.float32)}
    assert slowdown(*files, batch) > 1.1
    assert slowdown(*files[::-1], batch) == slowdown(files[0], files[0], batch) == 1
