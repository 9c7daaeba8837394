"""Accuracy against size and speed: one network at several budgets of MACs.

Parts are tried once (`tersor.compression.trial`); every further budget only costs a fit. The curve
shows how much accuracy the next saved multiplication costs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table

from tersor.api.compress import prepared
from tersor.checked import Part, checked
from tersor.compression.asked import Asked
from tersor.compression.options import Compression
from tersor.compression.room_needed import samples_within
from tersor.compression.sweep import OnPart
from tersor.compression.trial import STEPS as TRIAL_STEPS
from tersor.compression.trial import Trial, try_parts
from tersor.core.metrics import decibels
from tersor.data.given.feeds import Data
from tersor.data.given.samples import given_or_example, samples
from tersor.data.outputs.outputs import Metric, noise_to_signal
from tersor.data.runs.room import Memory, check_memory, told_if_full
from tersor.data.suitability.suitability import samples_told
from tersor.data.walk.observe import Batch
from tersor.errors import InvalidInputError
from tersor.frontend.capture import Example, Keywords, Model
from tersor.frontend.dynamic import Dynamic
from tersor.graph.network import Network
from tersor.report.charts import Chart
from tersor.report.contents import Budget
from tersor.report.plots import curve
from tersor.report.progress import shows_progress
from tersor.report.tables import budgets_table, html, plain
from tersor.results.compressed import Compressed

Score = Callable[[Network], float]  # higher is better
SHARES = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3)
STEPS = ("capture the model", *TRIAL_STEPS)


@dataclass(frozen=True)
class Point:
    """The network at one budget.

    Attributes:
        asked: Share of the MACs that was allowed.
        macs: Share of the MACs that remains.
        parameters: Share of the parameters that remains.
        megabytes: Size of the weights in 10⁶ bytes, 4 bytes per weight.
        sqnr: SQNR of its outputs against those of the model, in dB.
        score: Its score, or None.
        latency: Its latency in onnxruntime divided by that of the model, or None.
        compressed: The network.
    """

    asked: float
    macs: float
    parameters: float
    megabytes: float
    sqnr: float
    score: float | None
    latency: float | None
    compressed: Compressed

    def as_dict(self) -> dict[str, float | None]:
        """Plain numbers, ready for JSON."""
        return {name: value for name, value in vars(self).items() if name != "compressed"}


@dataclass(frozen=True, repr=False)
class Pareto:
    """The compressed networks at all budgets. Print it for a table.

    Attributes:
        points: One for each budget, the largest first.
        score: The score of the model itself, or None.
    """

    points: tuple[Point, ...]
    score: float | None

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The points as a report shows them."""
        return tuple(Budget(x.macs, x.sqnr, x.score, x.latency) for x in self.points)

    def plot(self) -> Chart | None:
        """Draw the curve as an Altair chart, which a notebook displays.

        Raises:
            UnsupportedError: Altair is not installed.
        """
        return curve(self.budgets)

    def __rich__(self) -> Table:
        return budgets_table(_row(point) for point in self.points)

    def __repr__(self) -> str:
        return f"Pareto({len(self.points)} budgets)"

    def _repr_html_(self) -> str:
        """The table as a notebook displays it."""
        return html(self.__rich__())

    def __str__(self) -> str:
        """The table as plain text."""
        return plain(self.__rich__())

    def as_dict(self) -> dict[str, object]:
        """Plain numbers, ready for JSON."""
        return {"score": self.score, "points": [point.as_dict() for point in self.points]}


@checked("model", "exclude")
@shows_progress(len(STEPS))
@told_if_full("Compression(samples=…)")
def pareto(
    model: Model | Compressed | str | Path,
    example: Example = None,
    *,
    kwargs: Keywords | None = None,
    dynamic: Dynamic | None = None,
    macs: Sequence[Part] = SHARES,
    data: Data = None,
    test: Data = None,
    score: Score | None = None,
    latency: bool = True,
    exclude: Iterable[str] = (),
    metric: Metric | None = None,
    options: Compression | None = None,
    jobs: int = 1,
    folder: str | Path | None = None,
    memory: Memory | None = None,
    on_step: Callable[[str], None] | None = None,
    on_part: OnPart | None = None,
) -> Pareto:
    """Compress a model to several budgets, and measure the results.

    Args:
        model: As for `compress`.
        example: As for `compress`.
        kwargs: As for `compress`.
        dynamic: As for `compress`.
        macs: Shares of the MACs that may remain.
        data: As for `compress`.
        test: Samples on which the outputs are compared. Default: `data`, to which the networks were
            fitted, or the example.
        score: Accuracy, or any other quality of a network: `score(network)`; higher is better.
        latency: Whether to measure the latency of the files in onnxruntime.
        exclude: As for `compress`.
        metric: As for `compress`.
        options: As for `compress`.
        jobs: As for `compress`.
        folder: As for `compress`.
        memory: As for `compress`.
        on_step: As for `compress`.
        on_part: As for `compress`.

    Raises:
        TersorError: The model, the data, a budget or an option cannot be used. The message says
            what to do.
    """
    say, options = on_step or (lambda _: None), options or Compression()
    if not macs:
        raise InvalidInputError(f"macs= is empty; give several shares, such as {SHARES}")
    if options.gates is not None:
        raise InvalidInputError(
            f"{options.gates!r} trains for one budget at a time; use tersor.compress"
        )
    if metric is not None and data is None:
        raise InvalidInputError("metric= has no effect without samples; give them with data=")
    check_memory(memory, data)
    say(STEPS[0])
    start, data = prepared(model, example, kwargs, data, dynamic)
    batches, shelf = samples_within(start.network, data, options, memory, folder)
    start.network.records += samples_told(start.original, batches)
    seen = _seen(start, batches, test)
    trial = try_parts(
        start.network,
        batches,
        options,
        exclude=exclude,
        metric=metric,
        jobs=jobs,
        folder=folder,
        shelf=shelf,
        say=say,
        on_part=on_part,
    )
    # The smallest budget first: if it is too small, the error comes before the others are fitted.
    points = [_point(start, trial, share, seen, score, latency) for share in sorted(macs)]
    return Pareto(tuple(reversed(points)), None if score is None else score(start.original))


def _row(point: Point) -> tuple[str, ...]:
    """A row of the table, with dashes for what was not measured."""
    score = "–" if point.score is None else f"{point.score:.4g}"
    latency = "–" if point.latency is None else f"{point.latency:.0%}"
    shares = f"{point.macs:.1%}", f"{point.parameters:.1%}", f"{point.megabytes:.3g} MB"
    return (*shares, f"{point.sqnr:.1f} dB", score, latency)


def _seen(start: Compressed, batches: Sequence[Batch], test: Data) -> Sequence[Batch]:
    """The samples on which outputs are compared."""
    if test is None and batches:
        return batches
    return samples(start.network, given_or_example(start.network, test))


def _point(
    start: Compressed,
    trial: Trial,
    share: float,
    seen: Sequence[Batch],
    score: Score | None,
    latency: bool,
) -> Point:
    before = trial.counts.whole
    asked = Asked("macs", share, before)
    with asked.told():
        found = replace(start, network=trial.within(asked.most))
    cost = found.cost
    return Point(
        asked=share,
        macs=cost.macs / before.macs,
        parameters=cost.parameters / before.parameters,
        megabytes=4e-6 * cost.parameters,
        sqnr=_sqnr(found, seen),
        score=None if score is None else score(found.network),
        latency=found.latency().ratio if latency else None,
        compressed=found,
    )


@torch.no_grad()
def _sqnr(found: Compressed, seen: Sequence[Batch]) -> float:
    got, wanted = (
        [network(*args, **kwargs) for args, kwargs in seen]
        for network in (found.network, found.original)
    )
    return decibels(1.0, noise_to_signal(got, wanted))
