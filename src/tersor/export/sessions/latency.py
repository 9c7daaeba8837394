"""Measures the latency of two files on one machine, in turns so that both see the same load."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, permutations
from math import ceil, sqrt
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import Any

from tersor.data.given.feeds import Arrays
from tersor.export.sessions.runtime import CALM, Config, Runtime

_ROUNDS = 25  # at most, unless more are asked for
_SHORTEST = 2e-3  # seconds that one measurement should take at least
_SLOW = 0.1  # seconds of a first run that need no trial
_FEWEST = 7  # rounds before the ratio can be sure
_LONG = 0.3  # seconds after which it is enough to know who is faster, and roughly by how much
_ROUGH = 0.1  # of the ratio
_LONGER, _LONGEST = 1.0, 3.0  # seconds that suffice where runs take long and agree; or anyway
_FEWEST_LONG = 3  # rounds of such a network, whose times differ little
_AGREE = 0.05  # of the ratio: three rounds that differ by less
#: A file that is slower by less is as fast: two timings of one file differ by that much.
AS_FAST = 1.05
_SLOWER = 1.1  # clearly more than that
_ENOUGH = 0.5  # seconds that tell whether a file is clearly slower, one run in each round
_MOST = 35  # rounds that tell it otherwise


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
    rounds: int = _ROUNDS,
    enough: float = 0.0,
    load: Callable[..., Runtime] = Runtime,
) -> Latency:
    """Time two files on one sample, in turns.

    Args:
        float_path: The float file.
        path: The quantized file.
        batch: Inputs of either file, see `tersor.data.given.feeds.feed`; the first sample is used
            if the batch is free.
        config: Session options of the quantized file.
        rounds: Largest number of times that both are measured.
        enough: Stop once the ratio is known within such a share of it, as `is_sure` says; 0 never
            stops.
        load: The class of the runtime, which loads a file.

    Returns:
        The times, with the runtime's default number of threads.
    """
    floating = load(float_path, config=CALM)
    return compare_latency(floating, load(path, config=calm(config)), batch, rounds, enough)


def calm(config: Config) -> Config:
    """Session options with which a file can be timed.

    Args:
        config: Those that users of the file set.
    """
    return {**dict(config), **CALM}


def compare_latency(
    floating: Runtime, quantized: Runtime, batch: Any, rounds: int = _ROUNDS, enough: float = 0.0
) -> Latency:
    """Time two files that are loaded already.

    Args:
        floating: The float file, loaded with the options `CALM`.
        quantized: The quantized file, loaded with `calm` options.
        batch: As for `measure_latency`.
        rounds: As for `measure_latency`.
        enough: As for `measure_latency`.
    """
    times, ratios = list[tuple[float, ...]](), list[float]()
    for before, after in islice(_rounds(_both(floating, quantized, batch)), rounds):
        times.append((before, after))
        ratios.append(after / before)
        if is_sure(ratios, enough) or (enough and _is_told(times, ratios)):
            break
    return Latency(
        float_ms=1e3 * median(before for before, _ in times),
        ratio=median(ratios),
        rounds=len(ratios),
    )


def slowdown(float_path: str | Path, path: str | Path, batch: Any, config: Config = ()) -> float:
    """How many times as long as the float file a file takes, if that is clearly longer; else 1.

    The shortest times of a thread are compared, so that the answer is the same in every run.

    Args:
        float_path: As for `measure_latency`.
        path: As for `measure_latency`.
        batch: As for `measure_latency`.
        config: As for `measure_latency`.
    """
    before, after = shortest_times(float_path, path, batch, config)
    return after / before if after > _SLOWER * before else 1.0


def shortest_times(
    float_path: str | Path, path: str | Path, batch: Any, config: Config = ()
) -> tuple[float, float]:
    """The seconds of the processor that one thread takes for each file, the shortest of many runs.

    They hardly depend on what else the machine does, in contrast to the time until a run ends.

    Args:
        float_path: As for `measure_latency`.
        path: As for `measure_latency`.
        batch: As for `measure_latency`.
        config: As for `measure_latency`.
    """
    floating = Runtime(float_path, config=CALM, threads=1)
    quantized = Runtime(path, config=calm(config), threads=1)
    rounds = _rounds(_both(floating, quantized, batch), thread_time)
    times = list[tuple[float, ...]]()
    for each in islice(rounds, _MOST):
        times.append(each)
        if len(times) >= _FEWEST and sum(map(sum, times)) > _ENOUGH:
            break
    before, after = map(min, zip(*times, strict=True))
    return before, after


def is_sure(ratios: Sequence[float], enough: float) -> bool:
    """Whether the 95 % interval of the median reaches no further from it than a share of it.

    Args:
        ratios: One for each round.
        enough: The share; 0 is never sure.
    """
    return len(ratios) >= _FEWEST and _reaches_no_further(ratios, enough)


def _reaches_no_further(ratios: Sequence[float], share: float) -> bool:
    (low, high), middle = _interval(ratios), median(ratios)
    return max(middle - low, high - middle) < share * middle


def _interval(ratios: Sequence[float]) -> tuple[float, float]:
    """It ends at ranks (n ± 1.96 √n) / 2 of the sorted values, whatever their distribution."""
    count, ordered = len(ratios), sorted(ratios)
    first = max(0, int((count - 1.96 * sqrt(count)) / 2))
    return ordered[first], ordered[count - 1 - first]


def _is_told(times: Sequence[tuple[float, ...]], ratios: Sequence[float]) -> bool:
    """Whether a long measurement has told who is faster, or has lasted long enough."""
    (low, high), spent = _interval(ratios), sum(map(sum, times))
    if spent > _LONGEST:
        return len(ratios) >= _FEWEST_LONG
    is_clear = high < 1 or low > AS_FAST  # the verdict will not change any more
    if spent > _LONGER and len(ratios) >= _FEWEST_LONG and _reaches_no_further(ratios, _AGREE):
        return is_clear
    return spent > _LONG and is_clear and is_sure(ratios, _ROUGH)


def _both(before: Runtime, after: Runtime, batch: Any) -> list[tuple[Runtime, Arrays]]:
    sample = next(after.split(after.feed(batch), 1))
    return [(before, before.renamed(sample)), (after, sample)]


def in_turns(
    runs: Sequence[tuple[Runtime, Arrays]],
    rounds: int,
    clock: Callable[[], float] = perf_counter,
) -> list[tuple[float, ...]]:
    """Time several runs, one after the other in every round, in another order each round.

    A run leaves its traces in the caches, so no run always follows the same one.

    Args:
        runs: The sessions and their inputs. Create the sessions with the options `CALM`.
        rounds: Number of times that each is measured.
        clock: Tells the seconds: `thread_time` those of the processor, if sessions have one thread.

    Returns:
        One entry per round: the seconds of each run.
    """
    return list(islice(_rounds(runs, clock), rounds))


def _rounds(
    runs: Sequence[tuple[Runtime, Arrays]], clock: Callable[[], float] = perf_counter
) -> Iterator[tuple[float, ...]]:
    """Rounds without an end, after a run that sets up what each needs, and one for a trial."""
    trials = [_seconds(*run, 1, perf_counter) for run in runs]
    if max(trials) < _SLOW:
        trials = [_seconds(*run, 1, perf_counter) for run in runs]
    repeats = [max(1, ceil(_SHORTEST / taken)) for taken in trials]
    for order in cycle(permutations(range(len(runs)))):
        seconds = {i: _seconds(*runs[i], repeats[i], clock) for i in order}
        yield tuple(seconds[i] for i in range(len(runs)))


def _seconds(runtime: Runtime, feed: Arrays, repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        runtime.run(feed)
    return (clock() - start) / repeats
