"""Samples by one string: what is read, when, and how often."""

import sys

import numpy as np
import pytest
from PIL import Image

from tersor.data.given import sources
from tersor.data.given.sources import find_source
from tersor.data.images import Pixels
from tersor.errors import InvalidInputError

CODE = """
import numpy as np

made = []

def batches():
    for number in range(5):
        made.append(number)
        yield np.full((4, 2), number, np.float32), np.arange(4)

def one_batch():
    made.append("one batch")
    return np.zeros((3, 2), np.float32)

def broken():
    yield np.zeros((3, 2), np.float32)
    raise KeyError("the rest")

def leaves():
    raise SystemExit

def number():
    return 7

def nothing():
    return []
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A module of the user's in the working directory."""
    (tmp_path / "users_data.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield "users_data"
    sys.modules.pop("users_data", None)


@pytest.fixture
def arrays(tmp_path):
    """70 samples of two inputs, with labels."""
    x = np.arange(140, dtype=np.float32).reshape(70, 2)
    np.savez(tmp_path / "a.npz", x=x, y=-x, labels=np.arange(70)[:, None])
    return tmp_path / "a.npz"


def test_a_file_is_cut_into_batches_by_name(arrays):
    source = find_source(str(arrays))
    found = list(source)
    assert [len(batch["x"]) for batch in found] == [32, 32, 6]
    assert len(source) == 3
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in found]).ravel(), range(140))
    np.testing.assert_array_equal(found[2]["y"], -found[2]["x"])
    np.testing.assert_array_equal(source.labels, range(70))


@pytest.mark.parametrize(
    ("most", "size", "lengths"),
    [(40, None, [32, 8]), (999, None, [32, 32, 6]), (10, 4, [4, 4]), (None, 35, [35, 35])],
)
def test_labels_go_with_the_samples_that_are_read(arrays, most, size, lengths):
    source = find_source(str(arrays)).first(most).in_batches(size)
    assert [len(batch["x"]) for batch in source] == lengths
    assert len(source) == len(lengths)
    np.testing.assert_array_equal(source.labels, range(sum(lengths)))


def test_too_few_samples_for_a_fixed_batch(arrays):
    with pytest.raises(InvalidInputError, match=r"70 samples, but the model takes batches of 71"):
        find_source(str(arrays)).in_batches(71)


def test_a_file_with_one_array_is_plain(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    (batch,) = find_source(str(tmp_path / "a.npy"))
    np.testing.assert_array_equal(batch, np.ones((2, 3)))


def test_images_are_read_when_they_are_wanted(tmp_path, monkeypatch):
    for number in range(40):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number:02d}.png")
    read = []
    monkeypatch.setattr(
        sources, "read_images", lambda files, pixels: read.extend(files) or [np.zeros(len(files))]
    )
    source = find_source(str(tmp_path), Pixels())
    assert (source.count, read) == (40, [])
    next(iter(source))
    assert len(read) == 32
    read.clear()
    assert [len(batch) for batch in source.first(5)] == [5]
    assert [file.name for file in read] == [f"{number:02d}.png" for number in range(5)]


def test_code_is_run_until_there_are_enough_samples(code):
    source = find_source(f"{code}:batches").first(9)
    assert not sys.modules[code].made
    for _ in range(2):  # once to quantize, once to verify
        assert [batch[0][0, 0] for batch in source] == [0, 1, 2]
        assert sys.modules[code].made == [0, 1, 2]
        sys.modules[code].made.clear()
    assert len(list(source.first(None).in_batches(3))) == 5


def test_code_may_return_a_single_batch(code):
    source = find_source(f"{code}:one_batch")
    for _ in range(2):
        (batch,) = source
        assert batch.shape == (3, 2)
    assert sys.modules[code].made == ["one batch"]  # loading a data set may take long


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", r"users_data:broken: it failed with KeyError: 'the rest'; call it by itself"),
        ("leaves", r"users_data:leaves: it failed with SystemExit"),
        ("number", r"users_data:number: inputs are int; give a tensor"),
        ("nothing", r"users_data:nothing: inputs hold no batch"),
        ("gone", r"users_data has no function 'gone'; it has batches"),
    ],
)
def test_code_that_fails_is_named(code, function, message):
    with pytest.raises(InvalidInputError, match=message):
        list(find_source(f"{code}:{function}"))


def test_one_image_is_no_folder(tmp_path):
    (tmp_path / "a.PNG").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"a\.PNG' is one image; give the folder"):
        find_source(str(tmp_path / "a.PNG"))


def test_what_is_no_file_of_numpy_is_not_taken_for_a_pickle(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    with pytest.raises(InvalidInputError, match=r"a readable .*\(it begins as something else\)"):
        find_source(str(tmp_path / "a.npz"))


def test_there_is_nothing_of_that_name(tmp_path):
    with pytest.raises(InvalidInputError, match="there is no such file"):
        find_source(str(tmp_path / "gone"))
