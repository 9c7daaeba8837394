"""Chooses ways within a latency by the times of single layers, and checks that of the whole file.

    find the saving of the layers with  t(after) / t(before) = share   by false position

The network does not save exactly as much time as its layers do when they are timed alone:
additions and copies belong to no layer. So the requested saving of the layers is
adjusted until the network is fast enough. The timed files have arbitrary weights, so that an
attempt takes seconds; only the final ways are fitted to data.

What counts is the processor time of one thread, as for single layers: the time until a run ends
depends on what else the machine does, and so did the ways that were found.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tersor.compression.budget import TooSmallError
from tersor.compression.counts import Counts
from tersor.compression.meter import hollow
from tersor.compression.ways import Way
from tersor.data.invented.synthetic import example_tensors
from tersor.errors import InvalidInputError
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.latency import shortest_times
from tersor.files import temporary_folder
from tersor.graph.network import Applied

_TRIES = 8
_MORE = 4  # further ones where the best attempt is too slow by little
_LITTLE = 0.1  # of the requested time
_LOADS = 3  # number of measurements, each with newly loaded files
_CLOSE = 0.01  # tolerance, as a share of the requested time
_LEAST = 1e-3  # assumed saving, as a share of the time, of an attempt that saved nothing
_STRIDE = 2.0  # largest factor between the savings requested in two attempts
_EDGE = 0.2  # the next attempt keeps this share of the interval away from both of its ends


@dataclass(frozen=True)
class InTime:
    """Ways with their measured time.

    Attributes:
        ways: The ways.
        budget: The nanoseconds of single layers that they were chosen for.
        ratio: Processor time of the compressed file in onnxruntime with one thread, divided by that
            of the original file.
    """

    ways: list[Way]
    budget: int
    ratio: float

    @property
    def record(self) -> Applied:
        """The record for the report."""
        numbers = {"ratio": self.ratio, "nanoseconds of layers": float(self.budget)}
        return Applied("network", "time", f"{self.ratio:.0%} of the time", numbers)


def ways_in_time(
    race: "Race", choose: Callable[[int], list[Way]], whole: int, share: float
) -> InTime:
    """Find the mildest ways whose file takes at most a share of the time.

    Args:
        race: Times the files.
        choose: Returns the ways within a budget of nanoseconds of single layers.
        whole: The nanoseconds of all layers before compression.
        share: Share of the time of the whole file in onnxruntime.

    Raises:
        InvalidInputError: No attempt was fast enough.
    """
    tried, saving = list[InTime](), 1 - share
    slow, fast = (0.0, 1.0), None
    for number in range(_TRIES + _MORE):
        if number >= _TRIES and not _is_near(tried, share):
            break
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
    fits = [found for found in tried if _fits(found, share)]
    if not fits:
        least = min((found.ratio for found in tried), default=1.0)
        raise InvalidInputError(
            f"could not reach latency={share}; the best attempt reached {least:.2f}. Give a larger "
            "share, or use macs="
        )
    return max(fits, key=lambda found: found.ratio)


def _fits(found: InTime, share: float) -> bool:
    return found.ratio <= (1 + _CLOSE) * share


def _is_near(tried: Sequence[InTime], share: float) -> bool:
    """Whether no attempt was fast enough, but one almost."""
    too_slow = [found for found in tried if not _fits(found, share)]
    is_near = any(found.ratio <= (1 + _LITTLE) * share for found in too_slow)
    return is_near and len(too_slow) == len(tried)


def _next(
    slow: tuple[float, float], fast: tuple[float, float | None] | None, share: float
) -> float:
    """The saving to request of the layers next, by linear interpolation.

    Args:
        slow: A saving that was too small, and the resulting share of the time.
        fast: A saving that was large enough, and the resulting share of the time; or one that was
            impossible, and None.
        share: The requested share of the time.
    """
    low, above = slow
    if fast is None:
        return low * min((1 - share) / max(1 - above, _LEAST), _STRIDE)
    high, below = fast
    part = 0.5 if below is None else (above - share) / (above - below)
    return low + min(max(part, _EDGE), 1 - _EDGE) * (high - low)


@contextmanager
def racing(counts: Counts) -> Iterator["Race"]:
    """Open a race, whose files are deleted in the end.

    Args:
        counts: The counts of the network, which is not changed.
    """
    with temporary_folder() as folder:
        yield Race(counts, folder)


class Race:
    """Times the file of a network and compressed ones in turns."""

    def __init__(self, counts: Counts, folder: Path) -> None:
        """Write the file of the network.

        Args:
            counts: See `racing`.
            folder: Where the files are written.
        """
        self._counts, self._example = counts, example_tensors(counts.network)
        self._before = export_onnx(counts.network, folder / "before.onnx", expected=False).path
        self._known: dict[tuple[Way, ...], float] = {}

    def ratio(self, ways: Sequence[Way]) -> float:
        """Find the time of the file of some ways, divided by that of the original file.

        Different budgets and mixtures may give the same ways; they are timed once.

        Args:
            ways: The ways.
        """
        key = tuple(ways)
        if key not in self._known:
            self._known[key] = self._measured(key)
        return self._known[key]

    def _measured(self, ways: Sequence[Way]) -> float:
        """Measure the two files, loaded anew each time, as their memory may lie unfavourably."""
        after = export_onnx(
            hollow(self._counts, ways)[0], self._before.with_name("after.onnx"), expected=False
        )
        files = self._before, after.path
        times = [shortest_times(*files, self._example) for _ in range(_LOADS)]
        return median(of_ways / of_network for of_network, of_ways in times)
