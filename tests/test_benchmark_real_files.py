"""The parts of the benchmark of real files that need no wheel."""

import argparse
import sys
import time
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.harness import Table
from benchmarks.real_files.__main__ import add, cell, remarks
from benchmarks.real_files.entries import ENTRIES
from benchmarks.real_files.entries.rxnmap import walk
from benchmarks.real_files.entry import total
from benchmarks.real_files.inputs import contents, photographs, reactions, sound, writing
from benchmarks.real_files.measure import Figures, Reference, Row, claims, spread, sqnr
from benchmarks.real_files.scores import (
    best_boxes,
    box_f1,
    collapsed,
    cosine,
    letters_right,
    overlap,
    share_equal,
)
from benchmarks.real_files.signature import differences
from benchmarks.real_files.variants import Made, Work, calibration, data_options
from benchmarks.real_files.wheels import NotFetchedError, Wheel


def boxes(*rows):
    return np.array(rows, np.float64).reshape(-1, 5)


def test_boxes_are_hits_once_and_in_their_class():
    reference = boxes([0, 0, 10, 10, 1], [20, 20, 30, 30, 2])
    assert box_f1(reference, reference) == (4, 4)
    assert box_f1(reference, boxes([0, 0, 10, 9, 1], [0, 0, 10, 9, 1])) == (2, 4)
    assert box_f1(reference, boxes([20, 20, 30, 30, 1], [0, 0, 10, 4, 1])) == (0, 4)
    assert box_f1(reference, boxes()) == (0, 2)
    assert total([box_f1(reference, reference), box_f1(reference, boxes())]) == pytest.approx(4 / 6)


def test_of_boxes_that_overlap_the_best_is_kept():
    corners = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50.0]])
    scores, classes = np.array([0.5, 0.9, 0.6, 0.1]), np.array([0, 1, 2, 3])
    kept = best_boxes(corners, scores, classes, least=0.2, most=0.45)
    assert kept[:, 4].tolist() == [1, 2]


def test_texts():
    assert collapsed(np.array([0, 3, 3, 0, 3, 5, 5, 0, 0])) == [3, 3, 5]
    assert letters_right("abcd", "abd") == (3, 4)
    assert letters_right("kitten", "sitting") == (3, 6)
    assert letters_right("ab", "xyzxyz") == (0, 2)


def test_maps_and_vectors():
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert overlap(a, b) == (1, 3)
    assert share_equal(a, b) == (2, 4)
    assert share_equal(a, b[:2]) == (0, 4)
    assert cosine(np.array([1.0, 0]), np.array([1.0, 1.0]))[0] == pytest.approx(0.5**0.5)
    assert cosine(np.array([1.0, 0]), np.array([np.nan, 1.0])) == (0, 1)


def test_a_reaction_is_read():
    """Acetic acid, ethanol and toluene: hydrogens and distances as in a textbook."""
    acid, ethanol, toluene = reactions.read("CC(=O)O.OCC.Cc1ccccc1")
    assert acid.hydrogens == [3, 0, 0, 1]
    assert ethanol.hydrogens == [1, 2, 3]
    assert toluene.hydrogens == [3, 0, 1, 1, 1, 1, 1]
    assert toluene.distances().max() == 4
    assert ethanol.distances().tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    (nitro,) = reactions.read("O=[N+]([O-])c1ccccc1")
    assert nitro.hydrogens[:3] == [0, 0, 0]
    (azole,) = reactions.read("Cc1cc(C)[nH]n1")
    assert azole.hydrogens == [3, 0, 1, 0, 3, 1, 0]


def test_a_pair_makes_its_neighbours_count_more():
    scores = np.array([[0.9, 0.0, 0.0], [0.0, 0.4, 0.5], [0.0, 0.5, 0.45]])
    chain, apart = np.eye(3, k=1, dtype=bool) | np.eye(3, k=-1, dtype=bool), np.zeros((3, 3), bool)
    assert walk(scores, chain, chain).tolist() == [0, 1, 2]
    assert walk(scores, apart, apart).tolist() == [0, 2, 1]


def test_inputs_are_the_same_each_time(monkeypatch):
    monkeypatch.delenv("TERSOR_ASSETS", raising=False)
    first, second = writing.lines(6), writing.lines(6)
    assert [line.text for line in first] == [line.text for line in second]
    assert all(a.image.tobytes() == b.image.tobytes() for a, b in zip(first, second, strict=True))
    files = contents.contents(20)
    tomorrow = time.localtime(time.time() + 86_400)
    monkeypatch.setattr("time.localtime", lambda *_: tomorrow)
    assert len({kind for kind, _ in files}) == 20
    assert files == contents.contents(20)
    images = photographs.photographs(8)
    assert len(images) == 8
    assert images[7].size != images[1].size
    (tune,) = sound.music(1, 4000, 22050)
    assert tune.dtype == np.float32
    assert 0.2 <= np.abs(tune).max() <= 0.9


def test_vowels_stand_in_for_speech(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    ((heard, spoken),) = sound.speech(1, 3.0)
    assert len(heard) == len(spoken) == 48000
    assert np.abs(heard[spoken]).mean() > 10 * np.abs(heard[: 48000 // 10]).mean()
    assert "vowels" in sound.where_from()


@pytest.fixture
def wheel(tmp_path):
    """A wheel in a cache, with one file."""
    folder = tmp_path / "thing-1.0"
    folder.mkdir()
    with ZipFile(folder / "thing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("thing/notes.txt", "hello")
        archive.writestr("../escaped.txt", "no")
    return Wheel("thing==1.0", tmp_path)


def test_a_wheel_of_the_cache_is_opened_as_an_archive(wheel, tmp_path):
    assert wheel.text("thing/notes.txt") == "hello"
    assert wheel.file("thing/notes.txt").read_text() == "hello"
    with pytest.raises(NotFetchedError, match="holds no file"):
        wheel.file("thing/other.txt")
    with pytest.raises(NotFetchedError, match="leads out of the archive"):
        wheel.file("../escaped.txt")
    assert not (tmp_path / "thing-1.0/escaped.txt").exists()


def test_a_wheel_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NotFetchedError, match=r"thing==2\.0 was not fetched"):
        Wheel("thing==2.0", tmp_path)


def network(path, name="x", axes=("batch", 3), kind=TensorProto.FLOAT):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], ["y"])],
        "identity",
        [value(name, kind, list(axes))],
        [value("y", kind, list(axes))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"name": "z"}, ["inputs ['x'] became ['z']"]),
        (
            {"kind": TensorProto.DOUBLE},
            ["input x: FLOAT became DOUBLE", "output y: FLOAT became DOUBLE"],
        ),
        (
            {"axes": (1, 3)},
            [f"{end}: ['batch', 3] became [1, 3]" for end in ("input x", "output y")],
        ),
        (
            {"axes": ("n", 3)},
            [f"{end}: ['batch', 3] became ['n', 3]" for end in ("input x", "output y")],
        ),
    ],
)
def test_what_differs_from_the_float_file(changes, words, tmp_path):
    before = network(tmp_path / "a.onnx")
    assert differences(before, network(tmp_path / "b.onnx", **changes)) == words


def test_an_axis_without_a_name_may_have_any(tmp_path):
    before = network(tmp_path / "a.onnx", axes=(-1, 3))
    assert differences(before, network(tmp_path / "b.onnx", axes=("n", 3))) == []
    assert differences(before, network(tmp_path / "b.onnx", axes=(2, 3))) != []


def test_feeds_are_spread_and_their_noise_is_in_decibels():
    feeds = [{"x": np.array(i)} for i in range(10)]
    assert [int(feed["x"]) for feed in spread(feeds, 3)] == [2, 5, 9]
    assert len(spread(feeds, 99)) == 10
    wanted = np.ones(100)
    assert sqnr([(wanted, 1.1 * wanted)]) == pytest.approx(20)
    assert sqnr([(wanted, wanted)]) == pytest.approx(200)
    assert sqnr([(wanted, np.nan * wanted)]) == -np.inf


def row(ours, **peers):
    return Row("magika v3.3", 3_000_000, 9, 1.0, {"data": ours, **peers})


@pytest.mark.parametrize(
    ("ours", "peer", "held"),
    [
        (Figures(0.98, 30.0, 0.9, 0.3, 5.0), Figures(0.98, 9.0, 2.0, 0.3, 1.0), "a b c d"),
        (Figures(0.98, 30.0, 0.9, 0.3, 5.0), Figures(1.0, 9.0, 2.0, 0.3, 1.0), "a b c"),
        (Figures(0.98, 30.0, 1.1, 0.3, 5.0), Figures(None, None, None, None, 1.0, "no"), "a b c"),
        (Figures(0.9, 30.0, 0.9, 0.4, 5.0, "", ("x",)), Figures(0.1, 9.0, 2.0, 0.3, 1.0), "a"),
        (Figures(None, None, None, None, 5.0, "no"), Figures(0.1, 9.0, 2.0, 0.3, 1.0), "–"),
    ],
)
def test_claims(ours, peer, held):
    assert claims(row(ours, static=peer), ENTRIES["magika v3.3"]) == held


def test_the_table_tells_why_a_file_failed(capsys):
    found = row(
        Figures(0.98, 30.0, 0.9, 0.3, 5.0), static=Figures(None, None, None, None, 1.0, "no")
    )
    table = Table(argparse.Namespace(json=None), *"abcdefg")
    add(table, found, ENTRIES["magika v3.3"])
    remarks(found)
    printed = capsys.readouterr().out.splitlines()
    assert cell(found.figures["data"]) == "0.980, 30 dB, 0.90×, 0.30, 5 s"
    assert printed[-2].endswith("| 1.000 | 0.980, 30 dB, 0.90×, 0.30, 5 s | fails, 1 s | a b c d |")
    assert printed[-1] == "- magika v3.3, static: no"


def doubling(session, sample):
    (output,) = session(sample)
    return 2 * output


def test_a_file_is_compared_on_what_it_is_run_with(tmp_path):
    """The entry's own way of use makes the feeds, for calibration and for the comparison."""
    path = network(tmp_path / "a.onnx", axes=(1, 3))
    entry = replace(ENTRIES["arabic-name encoder"], use=doubling, calibrate=2)
    samples = [np.full((1, 3), i, np.float32) for i in range(1, 5)]
    feeds = calibration(path, entry, samples)
    assert [float(feed["x"][0, 0]) for feed in feeds] == [1, 2]
    (_, data) = data_options(Work(entry, path, feeds, tmp_path))
    with np.load(data) as arrays:
        assert arrays["x"][:, 0].tolist() == [1, 2]
    reference = Reference(entry, path, samples[2:], rounds=1)
    figures = reference.compare(Made(path, 1.0, ""))
    assert (figures.score, figures.sqnr, figures.size) == (pytest.approx(1), pytest.approx(200), 1)
    assert reference.compare(Made(None, 1.0, "refused")).error == "refused"
    other = network(tmp_path / "b.onnx", name="other", axes=(1, 4))
    assert "InvalidArgument" in reference.compare(Made(other, 1.0, "")).error


def test_samples_of_several_sizes_are_read_by_a_function(tmp_path, monkeypatch):
    feeds = [{"x": np.ones((1, size), np.float32)} for size in (2, 3)]
    work = Work(ENTRIES["magika v3.3"], tmp_path / "a.onnx", feeds, tmp_path)
    assert data_options(work) == ["--data", "real_samples:samples"]
    monkeypatch.delitem(sys.modules, "real_samples", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    import real_samples

    assert [feed["x"].shape for feed in real_samples.samples()] == [(1, 2), (1, 3)]


def test_a_file_that_was_written_anew_says_why(tmp_path):
    assert Made(tmp_path, 1.0, '{"anew": "the \\"why\\""}').anew == 'the "why"'
    assert Made(None, 1.0, "error: refused").anew == ""
