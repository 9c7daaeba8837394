"""How good a file is on test samples, and how sure that is."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.peers.outputs import outputs
from benchmarks.peers.subject import Subject
from tersor.core.metrics import sqnr
from tersor.export.kernels import kernels
from tersor.export.sessions.latency import in_turns
from tersor.export.sessions.runtime import CALM, Runtime

_SHARE = 0.025  # of the drawings on each side of the interval
_ROUNDS = 15


@dataclass(frozen=True)
class Quality:
    """What a file is worth on the test samples.

    Attributes:
        score: That of the network's task.
        gain: Its score less that of the float file.
        interval: The 95 % interval of that, over drawings of the samples with replacement.
        sqnr: Signal over noise of the first output, dB.
    """

    score: float
    gain: float
    interval: tuple[float, float]
    sqnr: float


class Judge:
    """The float file's outputs, and the samples that are drawn."""

    def __init__(self, subject: Subject) -> None:
        """Run the float file.

        Args:
            subject: The network, and what it is tested on.
        """
        self._subject = subject
        self._reference = outputs(subject.path, subject.test)
        generator = np.random.default_rng(0)
        everything = np.arange(subject.count)
        drawn = [generator.choice(everything, subject.count) for _ in range(subject.drawings)]
        self._drawn = [everything, *drawn]
        self._scores = self._of(self._reference)

    @property
    def score(self) -> float:
        """The score of the float file."""
        return float(self._scores[0])

    def quality(self, path: Path, *, without_vnni: bool = False) -> Quality:
        """Judge a file.

        Args:
            path: The file.
            without_vnni: Whether it runs as on a CPU without VNNI.
        """
        found = outputs(path, self._subject.test, without_vnni=without_vnni)
        scores = self._of(found)
        gains = scores - self._scores
        low, high = np.quantile(gains[1:], [_SHARE, 1 - _SHARE])
        noise = sqnr(torch.from_numpy(self._reference), torch.from_numpy(found))
        return Quality(float(scores[0]), float(gains[0]), (float(low), float(high)), noise)

    def _of(self, found: np.ndarray) -> np.ndarray:
        facts = self._subject.facts(found)
        return np.array([self._subject.score(facts, chosen) for chosen in self._drawn])


def integer_layers(path: Path) -> tuple[int, int]:
    """Layers that onnxruntime computes in integers, and all that it finds in a file."""
    found = kernels(path)
    return sum(kernel.is_integer for kernel in found), len(found)


def times(files: dict[str, Path], sample: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Seconds of each file for one sample, on one thread, in turns.

    Args:
        files: Name → file.
        sample: One array for each input.
    """
    loaded = [Runtime(path, config=CALM, threads=1) for path in files.values()]
    rounds = in_turns([(file, file.feed(sample)) for file in loaded], _ROUNDS)
    return dict(zip(files, map(list, zip(*rounds, strict=True)), strict=True))


def ratio(theirs: list[float], ours: list[float]) -> float:
    """The median over the rounds of their seconds over ours."""
    return median(a / b for a, b in zip(theirs, ours, strict=True))
