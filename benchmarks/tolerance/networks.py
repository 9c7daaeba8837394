"""Networks whose outputs 8 bits disturb, with samples to learn from and others to judge on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.minilm import EXAMPLE
from benchmarks.real_files.entries.basic_pitch import NOTES
from benchmarks.real_files.entries.paddle import READER
from benchmarks.real_files.entry import Entry
from benchmarks.real_files.session import Feed, Session
from benchmarks.real_files.wheels import Wheel
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import coco128
from benchmarks.zoo.sentences import PUBLISHED, calibration, minilm, pairs
from benchmarks.zoo.sentences import tokenize as tokens
from tersor.data.given.feeds import split_labels
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.latency import CALM, in_turns
from tersor.export.sessions.runtime import Runtime
from tersor.frontend.capture import capture

_BATCH, _FEW = 16, 4
_UNSEEN = 64


@dataclass(frozen=True)
class Subject:
    """One network.

    Attributes:
        model: A module, or the name of its file.
        example: An example input of a module.
        floating: Its float file.
        learned: Batches for `quantize`, a quarter of which it holds back.
        unseen: Batches on which the result is judged.
    """

    model: Any
    example: Any
    floating: Path
    learned: Sequence[Any]
    unseen: Sequence[Any]


class Ranges(nn.Module):
    """Two parts of ranges 1,000 and 1, joined, and read by one layer that keeps them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU()
        )
        self.large, self.small = nn.Conv2d(64, 32, 1), nn.Conv2d(64, 32, 1)
        self.last = nn.Conv2d(64, 64, 3, 1, 1, groups=2)
        with torch.no_grad():
            self.large.weight *= 1000
            self.large.bias *= 1000  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        x = self.body(x)
        return self.last(torch.cat([self.large(x), self.small(x)], 1))


def ranges(folder: Path) -> Subject:
    """Random weights and random pictures."""
    generator = torch.manual_seed(0)
    pictures = [torch.rand(_BATCH, 3, 64, 64, generator=generator) for _ in range(8)]
    return _of_module(Ranges().eval(), pictures[0][:2], pictures[:4], pictures[4:], folder)


def sentences(folder: Path) -> Subject:
    """MiniLM: sentences of a set of its own, and of one that is measured."""
    _, first, _ = pairs(next(iter(PUBLISHED)))
    unseen = [tuple(x[i : i + _BATCH] for x in first) for i in range(0, 128, _BATCH)]
    return _of_module(minilm(), tokens(EXAMPLE), calibration(128), unseen, folder)


def detector(_: Path) -> Subject:
    """FastestDet: photographs of COCO."""
    learned, unseen = (
        [torch.from_numpy(x.pixels) for x in coco128(part)[:count]]
        for part, count in (("train2017", 64), ("val2017", 64))
    )
    path = asset("weights/FastestDet.onnx")
    return Subject(path, None, path, learned, unseen)


def notes(folder: Path) -> Subject:
    """basic-pitch: plucked strings."""
    return of_entry(NOTES, folder, 12)


def lines(folder: Path) -> Subject:
    """PP-OCR rec: printed lines."""
    return of_entry(READER, folder, 32)


def _of_module(
    model: nn.Module, example: Any, learned: Sequence[Any], unseen: Sequence[Any], folder: Path
) -> Subject:
    floating = folder / "float.onnx"
    export_onnx(capture(model, example), floating)
    return Subject(model, example, floating, learned, unseen)


def of_entry(entry: Entry, folder: Path, learned: int) -> Subject:
    """What a file is run with while its package uses it; the first ones are to learn from.

    Args:
        entry: The file.
        folder: Where PyTorch writes it, if it has to.
        learned: How many are to learn from.
    """
    wheel = Wheel(entry.requirement)
    path = entry.original(wheel, folder)
    session = Session(path, keep=True)
    for sample in entry.samples(wheel):
        entry.use(session, sample)
    feeds = [_tensors(feed) for feed in session.feeds]
    return Subject(
        path, None, path, _joined(feeds[:learned]), _joined(feeds[learned : learned + _UNSEEN])
    )


def _joined(feeds: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Neighbours of equal shapes in batches of a few."""
    found = []
    for _, alike in groupby(feeds, lambda feed: [x.shape for x in feed.values()]):
        left = list(alike)
        groups = [left[i : i + _FEW] for i in range(0, len(left), _FEW)]
        found += [{k: torch.cat([x[k] for x in group]) for k in group[0]} for group in groups]
    return found


def _tensors(feed: Feed) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in feed.items()}


NETWORKS: dict[str, Callable[[Path], Subject]] = {
    "ranges 1 : 1000": ranges,
    "basic-pitch": notes,
    "PP-OCR rec": lines,
    "FastestDet": detector,
    "MiniLM": sentences,
}


def latencies(subject: Subject, files: tuple[Path, ...], rounds: int) -> list[float]:
    """The time of each file as a multiple of the float file's."""
    paths = (subject.floating, *files)
    runs = []
    for path in paths:
        file = Runtime(path, config=CALM, threads=1)
        batch, _ = split_labels(subject.unseen[0], len(file.inputs))
        runs.append((file, file.feed(batch)))
    times = in_turns(runs, rounds)
    return [median(each[i] / each[0] for each in times) for i in range(1, len(paths))]
