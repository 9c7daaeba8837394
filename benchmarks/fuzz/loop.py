"""Break files and read them, one after the other."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fuzz.kinds import SECRET, Kind
from tersor.errors import TersorError

#: CPU time that an input may take: other programs do not count.
SECONDS = 10


@dataclass
class Tally:
    """What became of the inputs.

    Attributes:
        outcomes: Name of the error, or "read" → number of inputs.
        failures: Number of the input and what went wrong.
        slowest: Seconds of the slowest input.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, other: "Tally") -> None:
        """Take the figures of another tally in."""
        self.outcomes += other.outcomes
        self.failures += other.failures
        self.slowest = max(self.slowest, other.slowest)


class Hang(BaseException):
    """An input took too long."""


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(
    kind: Kind,
    numbers: range,
    folder: Path,
    captured: int = 200,
    on_input: Callable[[int], None] | None = None,
) -> Tally:
    """Read broken files one after the other.

    Args:
        kind: Which.
        numbers: Numbers of the inputs.
        folder: An empty folder to work in.
        captured: Every so many inputs one is captured as well, if it can be read.
        on_input: Called with each number.
    """
    tally, sound = Tally(), kind.files()
    inside = folder / "inside"
    inside.mkdir()
    (folder / "outside.bin").write_bytes(SECRET * 100)
    (inside / "link.bin").symlink_to(folder / "outside.bin")
    (inside / "weights.bin").write_bytes(b"\0" * 64)
    path = inside / f"broken{kind.suffix}"
    path.touch()
    expected = _listing(folder)
    for number in numbers:
        rng = random.Random(number)  # noqa: S311
        path.write_bytes(kind.mutate(rng.choice(sound), rng))
        if on_input:
            on_input(number)
        start = time.process_time()
        outcome = fuzz_one(kind, path, number % captured == 0)
        tally.slowest = max(tally.slowest, time.process_time() - start)
        if _listing(folder) != expected:
            outcome = "! a stray file"
        tally.outcomes[outcome.partition(":")[0]] += 1
        if outcome.startswith("!"):
            tally.failures.append((number, outcome))
    return tally


def _listing(folder: Path) -> set[str]:
    return {str(file) for file in folder.rglob("*")} | {file.name for file in Path().iterdir()}


def fuzz_one(kind: Kind, path: Path, captures: bool) -> str:
    """Read one file, and say what came of it; a failure starts with an exclamation mark.

    Args:
        kind: Which.
        path: The file.
        captures: Whether it is captured as well.
    """
    try:
        with _deadline(SECONDS):
            kind.read(path, captures)
    except TersorError as error:
        return type(error).__name__ if "\n" not in str(error) else f"! two lines: {error}"
    except (Exception, Hang) as error:  # noqa: BLE001
        return f"! {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return "read"
