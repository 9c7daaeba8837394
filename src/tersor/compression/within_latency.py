"""Ways within a budget of time: times of single layers choose them, that of the whole file checks.

    find the saving of the layers with  t(after) / t(before) = share   by false position

What the layers save, each timed alone, is not quite what the network saves: additions, copies and
waiting threads are nobody's. So the saving that is asked of the layers is moved until the network
is as fast as was asked for. Files that are timed have weights that mean nothing, so that a try
takes seconds; only the ways that are found are fitted to data.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tersor.compression.budget import TooSmallError
from tersor.compression.counts import Counts
from tersor.compression.meter import hollow
from tersor.compression.ways import Way
from tersor.data.synthetic import example_tensors
from tersor.errors import InvalidInputError
from tersor.export.latency import CALM, both_in_turns
from tersor.export.onnx import export_onnx
from tersor.export.runtime import Runtime
from tersor.graph.network import Applied

_TRIES = 8
_FAIR = 3  # times that files are loaded and measured while nothing else runs
_LOADS = 12  # at most
_ROUNDS = 15  # each time
_SLOWER = 0.1  # than ever: something else runs
_CLOSE = 0.02  # of the time asked for
_LEAST = 1e-3  # of the time: what a try saves, if it saves nothing
_STRIDE = 2.0  # how many times more may be asked of the next try
_EDGE = 0.2  # of what lies between two tries: the next is no closer to either


@dataclass(frozen=True)
class InTime:
    """Ways that are fast enough.

    Attributes:
        ways: The ways.
        budget: The nanoseconds of single layers that they were chosen for.
        ratio: Time of the file over that of the file before, in onnxruntime.
    """

    ways: list[Way]
    budget: int
    ratio: float

    @property
    def record(self) -> Applied:
        """What the report says of it."""
        numbers = {"ratio": self.ratio, "nanoseconds of layers": float(self.budget)}
        return Applied("network", "time", f"{self.ratio:.0%} of the time", numbers)


def ways_in_time(
    counts: Counts, choose: Callable[[int], list[Way]], whole: int, share: float
) -> InTime:
    """The mildest ways whose file takes at most a share of the time.

    Args:
        counts: Of the network, which stays as it is.
        choose: The ways within some nanoseconds of single layers.
        whole: The nanoseconds of all layers now.
        share: Of the time of the whole file, in onnxruntime.

    Raises:
        InvalidInputError: No try was fast enough.
    """
    tried, saving = list[InTime](), 1 - share
    slow, fast = (0.0, 1.0), None
    with tempfile.TemporaryDirectory() as folder:
        race = _Race(counts, Path(folder))
        for _ in range(_TRIES):
            budget = int(whole * (1 - saving))
            try:
                ways = choose(budget)
            except TooSmallError:
                fast = (saving, None)
            else:
                ratio = race.ratio(ways)
                tried.append(InTime(ways, budget, ratio))
                if abs(ratio - share) <= _CLOSE * share:
                    break
                slow, fast = (slow, (saving, ratio)) if ratio < share else ((saving, ratio), fast)
            saving = _next(slow, fast, share)
    fits = [found for found in tried if found.ratio <= (1 + _CLOSE) * share]
    if not fits:
        least = min((found.ratio for found in tried), default=1.0)
        raise InvalidInputError(
            f"could not reach latency={share}; the best was {least:.2f}. Give a larger share, or "
            "use macs="
        )
    return max(fits, key=lambda found: found.ratio)


def _next(
    slow: tuple[float, float], fast: tuple[float, float | None] | None, share: float
) -> float:
    """What to ask of the layers next, on a line through what is known on both sides.

    Args:
        slow: A saving that was too little, and the time that it left.
        fast: One that was enough, and the time; or one that could not be had, and None.
        share: Of the time, that is wanted.
    """
    low, above = slow
    if fast is None:
        return low * min((1 - share) / max(1 - above, _LEAST), _STRIDE)
    high, below = fast
    part = 0.5 if below is None else (above - share) / (above - below)
    return low + min(max(part, _EDGE), 1 - _EDGE) * (high - low)


class _Race:
    """A network's file, in turns with those that ways make of it."""

    def __init__(self, counts: Counts, folder: Path) -> None:
        self._counts, self._example = counts, example_tensors(counts.network)
        self._before = export_onnx(counts.network, folder / "before.onnx").path
        self._shortest = math.inf

    def ratio(self, ways: list[Way]) -> float:
        """Time of the file of some ways over that of the file before.

        While the file before takes longer than it can, others slow the machine down, and not both
        files alike: that does not count. Each time both are loaded anew, as threads may lie badly.
        """
        after = export_onnx(hollow(self._counts, ways)[0], self._before.with_name("after.onnx"))
        seen = list[tuple[float, float]]()
        while len(self._fair(seen)) < _FAIR and len(seen) < _LOADS:
            files = Runtime(self._before, config=CALM), Runtime(after.path, config=CALM)
            times = both_in_turns(*files, self._example, _ROUNDS)
            shortest, of_ways = map(min, zip(*times, strict=True))
            self._shortest = min(self._shortest, shortest)
            seen.append((shortest, of_ways / shortest))
        return median(self._fair(seen) or [min(seen)[1]])

    def _fair(self, seen: list[tuple[float, float]]) -> list[float]:
        return [ratio for before, ratio in seen if before <= (1 + _SLOWER) * self._shortest]
