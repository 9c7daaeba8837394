"""Samples are the same wherever they lie, and few of them are in memory at a time."""

import gc
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tersor.api.quantize import quantize
from tersor.data.given import kept_rows
from tersor.data.given.pieces import joined, pieces
from tersor.data.given.sample_rows import first_batches, last_batches, sample_counts
from tersor.data.given.samples import samples
from tersor.data.given.sources import find_source
from tersor.data.images import Pixels
from tersor.data.runs.fingerprint import fingerprint
from tersor.data.walk.observe import samples_of
from tersor.data.walk.shelf import Shelf
from tersor.frontend.capture import capture

X = torch.rand(21, 3, 96, 96, generator=torch.manual_seed(0))  # 110 kB each: more is in files


@pytest.fixture(scope="module")
def network():
    return capture(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval(), X[:2])


@pytest.fixture(params=[0, 1 << 18, 1 << 28], ids=["files", "some in files", "memory"])
def most(request, monkeypatch):
    monkeypatch.setattr(kept_rows, "_MOST", request.param)
    return request.param


def same(batches):
    wanted = X.split(3)
    assert len(batches) == len(wanted)
    for (args, kwargs), x in zip(batches, wanted, strict=True):
        assert torch.equal(args[0], x)
        assert not kwargs


@pytest.mark.parametrize(
    "data",
    [
        lambda: X,
        lambda: list(X.split(4)),
        lambda: (x.clone() for x in X.split(4)),
        lambda: (x.numpy().astype(np.float64) for x in X.split(1)),
        lambda: DataLoader(TensorDataset(X), batch_size=10),
    ],
    ids=["tensor", "list", "generator", "another type", "loader"],
)
@pytest.mark.usefixtures("most")
def test_the_same_batches_wherever_samples_lie(network, data):
    same(samples(network, data()))


@pytest.mark.usefixtures("most")
def test_rows_of_a_file_are_read_again(network, tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    same(samples(network, find_source(str(tmp_path / "x.npy"))))
    same(samples(network, np.load(tmp_path / "x.npy", mmap_mode="r")))


@pytest.mark.usefixtures("most")
def test_pictures_are_read_again(network, tmp_path):
    for number, x in enumerate((255 * X).byte().permute(0, 2, 3, 1).numpy()):
        Image.fromarray(x).save(tmp_path / f"{number:02}.png")
    found = samples(network, find_source(str(tmp_path), Pixels(mean=(0.5, 0.5, 0.5))))
    wanted = (255 * X).byte() / np.float32(255) - 0.5
    assert sample_counts(found) == [3] * 7
    assert torch.equal(torch.cat([args[0] for args, _ in found]), wanted)


def test_what_was_read_is_not_held(network, monkeypatch):
    monkeypatch.setattr(kept_rows, "_MOST", 1 << 20)
    alive = []

    def made():
        for x in X.split(1):
            batch = x.clone()
            alive.append(weakref.ref(batch))
            yield batch

    found = samples(network, made())
    gc.collect()
    assert sum(x() is not None for x in alive) <= 9  # 1 MiB of 110 kB each
    same(found)


def test_a_shelf_with_little_room_has_all_in_its_folder(network, tmp_path):
    shelf = Shelf(0, tmp_path)
    found = samples(network, (x.clone() for x in X.split(7)), shelf=shelf)
    assert shelf.spilled == X.nbytes
    assert shelf.most == 0
    assert len(list(tmp_path.rglob("*"))) >= 3
    same(found)
    del found, shelf
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_batch_reads_nothing_but_its_own_rows(network, tmp_path, monkeypatch):
    found = samples(network, (x.clone() for x in X.split(21)), shelf=Shelf(0, tmp_path))
    read, whole = [], np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *a, **k: read.append(k["count"]) or whole(*a, **k))
    assert torch.equal(found[2][0][0], X[6:9])
    assert read == [X[6:9].nbytes]


def test_samples_of_several_sizes_stay_apart(monkeypatch):
    monkeypatch.setattr(kept_rows, "_MOST", 0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3)).eval()
    axes = {"input": {0: "batch", 2: "height", 3: "width"}}
    network = capture(model, X[:2], dynamic=axes)
    given = [X[:5], X[:4, :, :80], X[5:7]]
    found = samples(network, (x.clone() for x in given))
    assert sample_counts(found) == [5, 4, 2]
    for (args, _), x in zip(found, given, strict=True):
        assert torch.equal(args[0], x)


def test_pieces_are_cut_without_a_look(network, monkeypatch):
    monkeypatch.setattr(kept_rows, "_MOST", 0)
    found = samples(network, (x.clone() for x in X.split(4)))
    monkeypatch.setattr("tersor.data.given.pieces.NUMBERS", 2 * 3 * 96 * 96)
    cut, views = pieces(network, found), pieces(network, list(found))
    assert sample_counts(cut) == list(map(samples_of, views)) == [2, 1] * 7
    for a, b in zip(cut, views, strict=True):
        assert torch.equal(a[0][0], b[0][0])
    assert sample_counts(cut[3:5]) == [1, 2]


def test_small_batches_are_joined_without_a_look(network, monkeypatch):
    monkeypatch.setattr(kept_rows, "_MOST", 0)
    found = samples(network, (x.clone() for x in X.split(4)))
    monkeypatch.setattr("tersor.data.given.pieces.NUMBERS", 5 * 3 * 96 * 96)
    together = joined(network, found[1:])
    assert sample_counts(together) == [5, 5, 5, 3]
    assert sample_counts(joined(network, found[1:], most=4)) == [4, 4, 4, 4, 2]
    for (args, _), x in zip(together, X[3:].split(5), strict=True):
        assert torch.equal(args[0], x)


def test_samples_of_several_sizes_are_not_joined(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 2, 3)).eval()
    axes = {"input": {0: "batch", 2: "height", 3: "width"}}
    network = capture(model, X[:2], dynamic=axes)
    found = samples(network, [X[:5], X[5:6, :, :80], X[6:7]])
    monkeypatch.setattr("tersor.data.given.pieces.NUMBERS", 3 * 3 * 96 * 96)
    assert sample_counts(joined(network, found)) == [3, 2, 1, 1]


@pytest.mark.parametrize(("enough", "count"), [(0, 0), (1, 1), (3, 1), (4, 2), (99, 7)])
def test_first_and_last(network, enough, count):
    found = samples(network, X)
    assert sample_counts(last_batches(found, enough)) == sample_counts(found)[7 - count :]
    assert len(first_batches(found, enough)) == max(1, count)


def test_the_result_and_its_fingerprint_do_not_depend_on_it(network, monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    stays = quantize(model, data=X, weights=4)
    prints = [fingerprint(network, samples(network, X), ())]
    monkeypatch.setattr(kept_rows, "_MOST", 0)
    moved = quantize(model, data=(x.clone() for x in X.split(2)), weights=4)
    prints.append(fingerprint(network, samples(network, (x for x in X.split(2))), ()))
    assert prints[0] == prints[1]
    for (name, a), b in zip(
        stays.network.module.state_dict().items(),
        moved.network.module.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b), name
