"""Measures the latency of two files on one machine, in turns so that both see the same load."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, permutations
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from tersor.data.feeds import Arrays
from tersor.export.runtime import Config, Runtime

_WARM_UP = 3
_SHORTEST = 2e-3  # seconds that one measurement should take at least
#: Idle threads of one session must not spin on the cores while another one is timed.
CALM = {"session.force_spinning_stop": "1"}


@dataclass(frozen=True)
class Latency:
    """The times of two files; every round runs both once, and all figures are from one estimate.

    Attributes:
        float_ms: Milliseconds per run of the float file, the median over rounds.
        ratio: Median over the rounds of quantized / float; less than 1 is faster.
        rounds: Number of rounds.
    """

    float_ms: float
    ratio: float
    rounds: int

    @property
    def ms(self) -> float:
        """Milliseconds per run of the quantized file where the float file takes `float_ms`."""
        return self.float_ms * self.ratio

    def as_dict(self) -> dict[str, float]:
        """Convert to plain numbers, ready for JSON."""
        return {
            "float_ms": self.float_ms,
            "ms": self.ms,
            "ratio": self.ratio,
            "rounds": self.rounds,
        }

    def __str__(self) -> str:
        """One line of text; three digits, so that the times have the ratio that is printed."""
        return f"{self.float_ms:.3g} → {self.ms:.3g} ms ({1 / self.ratio:.2f}× as fast)"


def measure_latency(
    float_path: str | Path,
    path: str | Path,
    batch: Any,
    *,
    config: Config = (),
    rounds: int = 25,
    load: Callable[..., Runtime] = Runtime,
) -> Latency:
    """Time two files on one sample, in turns.

    Args:
        float_path: The float file.
        path: The quantized file.
        batch: Inputs of either file, see `tersor.data.feeds.feed`; the first sample is used if the
            batch is free.
        config: Session options of the quantized file.
        rounds: Number of times that both are measured.
        load: The class of the runtime, which loads a file.

    Returns:
        The times, with the runtime's default number of threads.
    """
    floating = load(float_path, config=CALM)
    quantized = load(path, config={**dict(config), **CALM})
    times = both_in_turns(floating, quantized, batch, rounds)
    return Latency(
        float_ms=1e3 * median(before for before, _ in times),
        ratio=median(after / before for before, after in times),
        rounds=rounds,
    )


def both_in_turns(
    before: Runtime, after: Runtime, batch: Any, rounds: int
) -> list[tuple[float, ...]]:
    """Time two files on one sample, in seconds, in several rounds.

    Args:
        before: A file, loaded with the options `CALM`.
        after: Another file that takes the same inputs, loaded in the same way.
        batch: See `measure_latency`.
        rounds: Number of times that both are measured.
    """
    sample = next(after.split(after.feed(batch), 1))
    return in_turns([(before, before.renamed(sample)), (after, sample)], rounds)


def in_turns(runs: Sequence[tuple[Runtime, Arrays]], rounds: int) -> list[tuple[float, ...]]:
    """Time several runs, one after the other in every round, in another order each round.

    A run leaves its traces in the caches, so no run always follows the same one.

    Args:
        runs: The sessions and their inputs. Create the sessions with the options `CALM`.
        rounds: Number of times that each is measured.

    Returns:
        One entry per round: the seconds of each run.
    """
    for runtime, feed in [*runs] * _WARM_UP:
        runtime.run(feed)
    repeats = [max(1, ceil(_SHORTEST / _seconds(*run, 1))) for run in runs]
    orders = cycle(permutations(range(len(runs))))
    times = [{i: _seconds(*runs[i], repeats[i]) for i in order} for order in islice(orders, rounds)]
    return [tuple(seconds[i] for i in range(len(runs))) for seconds in times]


def _seconds(runtime: Runtime, feed: Arrays, repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        runtime.run(feed)
    return (perf_counter() - start) / repeats
