"""What is put on a shelf comes back to the bit, wherever it was, and goes with its last reader."""

from pathlib import Path

import pytest
import torch

from tersor.core.codes import codes
from tersor.core.grid import Grid
from tersor.data.walk.shelf import Shelf
from tersor.errors import ExportError

SIZE = 4 * 64 * 64 * 4  # bytes


def image(dtype=torch.float32):
    return torch.randn(4, 64, 64, generator=torch.manual_seed(0)).to(dtype)


@pytest.mark.parametrize("room", [None, 0])
@pytest.mark.parametrize(
    "value",
    [
        image(),
        image(torch.float64),
        image(torch.bfloat16),
        image().transpose(0, 2),
        image().long(),
        image()[:, ::2],
        torch.ones(()).expand(300, 300),
        torch.ones(0, 3),
        7,
        [image(), 3],
    ],
)
def test_values_come_back(room, value, tmp_path):
    found = Shelf(room, tmp_path).put(value).value()
    if isinstance(value, torch.Tensor):
        assert found.dtype == value.dtype
        assert found.stride() == value.stride()
        assert torch.equal(found, value)
    else:
        assert found is value


@pytest.mark.parametrize("room", [None, 0])
def test_codes_come_back_as_rounded_values(room, tmp_path):
    grid, scale, zero = Grid(8), torch.tensor(0.02), torch.tensor(90.0)
    found = codes(image(), scale, zero, grid)
    shelf = Shelf(room, tmp_path)
    item = shelf.put(found)
    assert shelf.held + shelf.spilled == SIZE // 4
    assert torch.equal(item.value(), found.value())


def test_there_is_never_more_than_the_room(tmp_path):
    shelf = Shelf(int(2.5 * SIZE), tmp_path)
    items = [shelf.put(image() + i) for i in range(5)]
    assert (shelf.held, shelf.most, shelf.spilled) == (2 * SIZE, 2 * SIZE, 3 * SIZE)
    assert all(torch.equal(item.value(), image() + i) for i, item in enumerate(items))
    files = list(tmp_path.rglob("[0-9]*"))
    assert len(files) == 3
    del items[3]
    assert len(list(tmp_path.rglob("[0-9]*"))) == 2
    del items[0]
    items.append(shelf.put(image()))
    assert (shelf.held, shelf.spilled) == (2 * SIZE, 3 * SIZE)
    del shelf, items
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.Tensor, "numpy", full)
    with pytest.raises(ExportError, match=r"No space left.*memory=, or fewer samples="):
        Shelf(0, Path(tmp_path)).put(image())


def test_the_folder_for_files_is_made(tmp_path):
    item = Shelf(0, tmp_path / "run" / "first").put(image())
    assert torch.equal(item.value(), image())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"file.* cannot keep files .*give another folder="):
        Shelf(0, tmp_path / "file").put(image())
