"""The memory that a run may have changes where values lie, and nothing else."""

import pytest
import torch
from torch import nn

import tersor
from tersor.compression.chain_fit import Refit
from tersor.compression.room_needed import bytes_needed
from tersor.data.runs import room
from tersor.data.runs.memory import resident
from tersor.data.runs.room import bytes_of
from tersor.data.walk.shelf import Shelf
from tersor.errors import InvalidInputError, OutOfMemoryError
from tersor.frontend.capture import captured


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3)
    return nn.Sequential(*layers).eval()


def weights(network):
    return dict(network.module.state_dict())


@pytest.fixture
def shelves(monkeypatch):
    made = []
    plain = Shelf.__init__

    def noted(self, *args):
        plain(self, *args)
        made.append(self)

    monkeypatch.setattr(Shelf, "__init__", noted)
    return made


@pytest.mark.skipif(not resident(), reason="the system does not tell what a process holds")
def test_results_do_not_depend_on_the_memory(model, shelves, tmp_path, monkeypatch):
    data = torch.randn(64, 3, 40, 40)
    plain = tersor.quantize(model, data=data)
    assert not any(shelf.spilled for shelf in shelves)
    monkeypatch.setattr(room, "_needed", lambda _: 0)
    monkeypatch.setattr(room, "resident", lambda: 0)
    most = max(shelf.most for shelf in shelves)
    few = tersor.quantize(model, data=data, memory=most // 4, folder=tmp_path)
    assert max(shelf.spilled for shelf in shelves) > 0
    assert shelves[-1].most <= most
    ours, theirs = weights(plain.network), weights(few.network)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.skipif(not resident(), reason="the system does not tell what a process holds")
def test_bits_do_not_depend_on_the_memory(model, shelves, monkeypatch):
    data = torch.randn(64, 3, 40, 40)
    plain = tersor.search_bits(model, data=data, average=4.5, choices=(3, 8))
    assert not any(shelf.spilled for shelf in shelves)
    monkeypatch.setattr(room, "_needed", lambda _: 0)
    monkeypatch.setattr(room, "resident", lambda: 0)
    shelves.clear()
    few = tersor.search_bits(model, data=data, average=4.5, choices=(3, 8), memory="2MB")
    assert few.sensitivities == plain.sensitivities
    assert sum(shelf.spilled for shelf in shelves) > 2_000_000
    assert max(shelf.most for shelf in shelves) <= 2_000_000


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("800MB", 8 * 10**8), ("1.5 gb", 15 * 10**8), (4096, 4096)],
)
def test_sizes_in_words(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("memory", ["much", "2 apples", "-1GB", "10k", 0, "0MB"])
def test_what_is_no_size(model, memory):
    with pytest.raises(InvalidInputError, match=r"memory=.* is no size; give .*'800MB'"):
        tersor.quantize(model, data=torch.randn(2, 3, 16, 16), memory=memory)


def test_too_little_memory_names_what_is_enough(model):
    with pytest.raises(
        InvalidInputError, match=r"holds \d+MB already.*give memory='\d+MB' or more"
    ):
        tersor.quantize(model, data=torch.randn(2, 3, 16, 16), memory="1MB")


def test_too_little_memory_for_a_search(model):
    with pytest.raises(InvalidInputError, match=r"give memory='\d+MB' or more"):
        tersor.search_bits(model, data=torch.randn(2, 3, 16, 16), average=4.0, memory="1MB")


def test_no_effect_without_samples(model):
    with pytest.raises(InvalidInputError, match=r"memory='2GB' is for the values of samples"):
        tersor.quantize(model, torch.randn(2, 3, 16, 16), memory="2GB")


def full(*_, **__):
    torch.empty(1 << 60, dtype=torch.uint8)


def test_an_allocation_that_fails_says_what_to_do(model, monkeypatch):
    monkeypatch.setattr("tersor.api.quantize.check_samples", full)
    with pytest.raises(OutOfMemoryError, match=r"samples=.*--samples.*memory=.*--memory"):
        tersor.quantize(model, data=torch.randn(2, 3, 16, 16))


def test_a_search_says_it_too(model, monkeypatch):
    monkeypatch.setattr("tersor.api.search_bits.sensitivities", full)
    with pytest.raises(OutOfMemoryError, match=r"WithData\(samples=.*memory=.*--memory"):
        tersor.search_bits(model, data=torch.randn(2, 3, 16, 16), average=4.0)


BUDGETS = [("compress", {"macs": 0.5}), ("pareto", {"macs": (0.5, 0.6)})]


@pytest.mark.parametrize(("name", "budget"), BUDGETS)
def test_compression_says_it_too(model, monkeypatch, name, budget):
    monkeypatch.setattr(f"tersor.api.{name}.try_parts", full)
    with pytest.raises(
        OutOfMemoryError, match=r"Compression\(samples=…\), .*--samples, .*--memory"
    ):
        getattr(tersor, name)(model, data=torch.randn(2, 3, 16, 16), **budget)


@pytest.mark.parametrize(("name", "budget"), BUDGETS)
def test_compression_refuses_a_bound_that_cannot_be(model, name, budget):
    compress = getattr(tersor, name)
    with pytest.raises(InvalidInputError, match=r"memory='2GB' is for the values of samples"):
        compress(model, torch.randn(2, 3, 16, 16), memory="2GB", **budget)
    with pytest.raises(InvalidInputError, match=r"give memory='\d+MB' or more"):
        compress(model, data=torch.randn(2, 3, 16, 16), memory="1MB", **budget)


class WithShortcut(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.third, self.last = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 4, 3)

    def forward(self, x):
        x = self.first(x).relu()
        return self.last((self.third(self.second(x).relu()) + x).relu()).mean((2, 3))


@pytest.mark.skipif(not resident(), reason="the system does not tell what a process holds")
@pytest.mark.parametrize(
    ("scores", "metric"), [("fisher", None), ("lasso", lambda x, y: float((x - y).square().mean()))]
)
def test_compressed_networks_do_not_depend_on_the_memory(shelves, monkeypatch, scores, metric):
    torch.manual_seed(0)
    model, data = WithShortcut().eval(), torch.randn(64, 3, 24, 24)
    methods, quick = ("spatial", "prune", "drop"), Refit(steps=3)
    options = tersor.Compression(methods, ratios=(0.7, 0.4), scores=scores, refit=quick)
    given = {"macs": 0.6, "data": data, "options": options, "metric": metric}
    plain = tersor.compress(model, **given)
    assert not any(shelf.spilled for shelf in shelves)
    monkeypatch.setattr("tersor.compression.room_needed.bytes_needed", lambda *_: 0)
    monkeypatch.setattr("tersor.data.walk.shelf._SMALL", 1)  # values that are held in any case
    monkeypatch.setattr(room, "resident", lambda: 0)
    shelves.clear()
    few = tersor.compress(model, memory="1MB", **given)
    assert sum(shelf.spilled for shelf in shelves) > 2_000_000
    assert max(shelf.most for shelf in shelves) <= 1_000_000
    ours, theirs = weights(plain.network), weights(few.network)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_compression_needs_grows_with_pictures_and_weights():
    def needed(width, size, **options):
        model = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3))
        network = captured(model.eval(), torch.zeros(2, 3, size, size))
        return bytes_needed(network, tersor.Compression(**options))

    assert needed(16, 32) < needed(32, 32) < needed(32, 512)
    assert needed(64, 64, methods=("prune",)) < needed(64, 64)  # no fit in front of the ReLU
    assert needed(16, 64, tried=64) < needed(16, 64, tried=4096)  # outputs of what is tried
