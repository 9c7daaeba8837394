"""The detector of nudenet: boxes in pixels and scores in 0…1 are one output."""

from collections.abc import Iterator
from pathlib import Path

import torch

import tersor
from benchmarks.real_files.entries.nudenet import DETECTOR
from benchmarks.real_files.entry import total
from benchmarks.real_files.session import Session
from benchmarks.real_files.variants import Work, calibration, static, without_data
from benchmarks.real_files.wheels import Wheel
from benchmarks.verdicts.case import Case, graded

_WAYS = {"8 bits without data": without_data, "quantize_static": static}
_COMPARED = 24


def nudenet(folder: Path) -> Iterator[Case]:
    """The boxes that are left say what a file is worth."""
    wheel = Wheel(DETECTOR.requirement)
    original, samples = DETECTOR.original(wheel, folder), DETECTOR.samples(wheel)
    work = Work(DETECTOR, original, calibration(original, DETECTOR, samples), folder)
    tested = samples[DETECTOR.calibrate :][:_COMPARED]
    wanted = [DETECTOR.use(Session(original), sample) for sample in tested]
    for way, make in _WAYS.items():
        path = make(work).path
        assert path is not None
        answers = [DETECTOR.use(Session(path), sample) for sample in tested]
        scores = [DETECTOR.same(a, b) for a, b in zip(wanted, answers, strict=True)]
        lost = 100 * (1 - total(scores))
        inputs = [torch.from_numpy(sample) for sample in tested]
        proof = tersor.verify(original, path, inputs, latency=False)
        yield Case("nudenet 320n", way, graded(lost), f"loses {lost:.1f} of 100 boxes", proof)
