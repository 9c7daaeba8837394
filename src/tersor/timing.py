"""Ways within a budget of time: times of single layers choose them, that of the whole file checks.

    saving ← saving · (1 − share) / (1 − t(after) / t(before))

What the layers save, each timed alone, is not quite what the network saves: additions, copies and
waiting threads are nobody's. So the saving that is asked of the layers is moved until the network
is as fast as was asked for. Files that are timed have weights that mean nothing, so that a try
takes seconds; only the ways that are found are fitted to data.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tersor.compress.meter import hollow
from tersor.compress.ways import Way
from tersor.errors import InvalidInputError
from tersor.export.latency import both_in_turns
from tersor.export.onnx import export_onnx
from tersor.graph.network import Applied, Network
from tersor.quant.synthetic import example_tensors

_TRIES = 8
_LOADS = 4
_ROUNDS = 15  # each time
_CLOSE = 0.02  # of the time asked for
_LEAST = 1e-3  # of the time: what a try saves, if it saves nothing
_STRIDE = 2.0  # how many times more may be asked of the next try


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
    network: Network, choose: Callable[[int], list[Way]], whole: int, share: float
) -> InTime:
    """The mildest ways whose file takes at most a share of the time.

    Args:
        network: The network; it stays as it is.
        choose: The ways within some nanoseconds of single layers.
        whole: The nanoseconds of all layers now.
        share: Of the time of the whole file, in onnxruntime.

    Raises:
        InvalidInputError: No try was fast enough.
    """
    saving, saved, tried, refused = (1 - share) * whole, 0.0, list[InTime](), ""
    with tempfile.TemporaryDirectory() as folder:
        before = export_onnx(network, Path(folder) / "before.onnx").path
        for _ in range(_TRIES):
            budget = int(whole - saving)
            try:
                ways = choose(budget)
            except InvalidInputError as error:
                saving, refused = (saving + saved) / 2, f": {error}"
                continue
            ratio = _ratio(network, ways, before)
            tried.append(InTime(ways, budget, ratio))
            if abs(ratio - share) <= _CLOSE * share:
                break
            faster = min((1 - share) / max(1 - ratio, _LEAST), _STRIDE)
            saved, saving = saving, saving * faster
    fits = [found for found in tried if found.ratio <= (1 + _CLOSE) * share]
    if not fits:
        least = min((found.ratio for found in tried), default=1.0)
        raise InvalidInputError(
            f"latency={share} was not reached, {least:.2f} was; ask for less, or for macs={refused}"
        )
    return max(fits, key=lambda found: found.ratio)


def _ratio(network: Network, ways: list[Way], before: Path) -> float:
    """Shortest time of the file of some ways over that of the file before.

    What is more than the shortest was taken by others. Files are loaded several times, as threads
    may lie badly for as long as a file is loaded.
    """
    after = export_onnx(hollow(network, ways)[0], before.with_name("after.onnx")).path
    example, times = example_tensors(network), list[tuple[float, ...]]()
    for _ in range(_LOADS):
        times += both_in_turns(before, after, example, rounds=_ROUNDS)
    shortest, of_ways = map(min, zip(*times, strict=True))
    return of_ways / shortest
