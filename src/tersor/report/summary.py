"""Sums up what the steps did and refused to do."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median

from rich.console import Group

from tersor.graph.network import Applied, Record, Skipped
from tersor.report.tables import html, plain, refused_table, steps_table

_EXAMPLES = 3
_NAME = re.compile(r"\w*[._]\w[\w.]*|\w*[a-zA-Z]\d+\w*")  # layer1.conv, add_2, x3


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        name: The step, for instance `"fold"`.
        done: Number of times that it did something.
        refused: Number of times that it refused.
        what: What it did, the most frequent first.
    """

    name: str
    done: int
    refused: int
    what: str


@dataclass(frozen=True)
class Refusal:
    """Something that a step could not do, for one reason.

    Attributes:
        step: The step.
        reason: The reason.
        layers: The layers concerned.
    """

    step: str
    reason: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Records, counted per step, with the refusals grouped by reason; print it.

    Attributes:
        steps: Every step that left a record, in order.
        refusals: Every reason, in order.
    """

    steps: tuple[Step, ...]
    refusals: tuple[Refusal, ...]

    def as_dict(self) -> dict[str, object]:
        """Convert to plain data, ready for JSON."""
        return asdict(self)

    def __rich__(self) -> Group:
        tables = [steps_table([(s.name, s.done, s.refused, s.what) for s in self.steps])]
        if self.refusals:
            tables.append(refused_table([(r.step, r.reason, r.layers) for r in self.refusals]))
        return Group(*tables)

    def _repr_html_(self) -> str:
        """The tables as a notebook shows them."""
        return html(self)

    def __str__(self) -> str:
        """The tables as plain text."""
        return plain(self.__rich__())


def change(record: Record) -> tuple[float, float] | None:
    """The error or objective of a layer before and after a step, if the record has it."""
    numbers = record.numbers if isinstance(record, Applied) else {}
    for what in ("objective", "error"):
        if f"{what} before" in numbers and f"{what} after" in numbers:
            return numbers[f"{what} before"], numbers[f"{what} after"]
    return None


def summarize(records: Iterable[Record]) -> Summary:
    """Sum up the records of a network."""
    by_step: dict[str, list[Record]] = {}
    for record in records:
        by_step.setdefault(record.step, []).append(record)
    return Summary(
        tuple(_step(name, found) for name, found in by_step.items()),
        tuple(refusal for name, found in by_step.items() for refusal in _refusals(name, found)),
    )


def _step(name: str, records: list[Record]) -> Step:
    done = [record.what for record in records if isinstance(record, Applied)]
    groups = sorted(_alike(done).items(), key=lambda item: -len(item[1]))
    lines = [f"{len(where)} × {what}" if len(where) > 1 else what for what, where in groups]
    what = "\n".join(lines[:_EXAMPLES] + ["…"] * (len(lines) > _EXAMPLES) + _gain(records))
    return Step(name, len(done), len(records) - len(done), what)


def _gain(records: list[Record]) -> list[str]:
    """The share of an error that is left, if a step records it before and after."""
    changes = [change(record) for record in records]
    left = [after / before for before, after in filter(None, changes) if before > 0]
    return [f"error left, median: {median(left):.0%}"] if left else []


def _refusals(step: str, records: list[Record]) -> list[Refusal]:
    skipped = [record for record in records if isinstance(record, Skipped)]
    groups = _alike([record.reason for record in skipped])
    return [
        Refusal(step, reason, tuple(skipped[i].layer for i in where))
        for reason, where in groups.items()
    ]


def _alike(sentences: list[str]) -> dict[str, list[int]]:
    """Merge sentences that differ in names only, and keep their positions in the list."""
    groups: dict[str, list[int]] = {}
    for position, sentence in enumerate(sentences):
        groups.setdefault(_NAME.sub("…", sentence), []).append(position)
    return {_common([sentences[i] for i in where]): where for where in groups.values()}


def _common(sentences: list[str]) -> str:
    """The words that all sentences share, and `…` for the others."""
    columns = zip(*(sentence.split() for sentence in sentences), strict=True)
    words = [column[0] if len(set(column)) == 1 else "…" for column in columns]
    return re.sub("…( …)+", "…", " ".join(words))
