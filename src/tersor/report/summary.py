"""What the steps did and refused, summed up for people."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group

from tersor.graph.network import Applied, Record, Skipped
from tersor.report.tables import plain, refused_table, steps_table

_EXAMPLES = 3


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        name: The step, for instance `"fold"`.
        done: How often it did something.
        refused: How often it refused to.
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
        reason: Why.
        layers: Where.
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

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def __rich__(self) -> Group:
        tables = [steps_table([(s.name, s.done, s.refused, s.what) for s in self.steps])]
        if self.refusals:
            tables.append(refused_table([(r.step, r.reason, r.layers) for r in self.refusals]))
        return Group(*tables)

    def __str__(self) -> str:
        """The tables as plain text."""
        return plain(self.__rich__())


def summarize(records: Iterable[Record]) -> Summary:
    """Sum up the records of a network."""
    by_step: dict[str, list[Record]] = {}
    reasons: dict[tuple[str, str], list[str]] = {}
    for record in records:
        by_step.setdefault(record.step, []).append(record)
        if isinstance(record, Skipped):
            reasons.setdefault((record.step, record.reason), []).append(record.layer)
    return Summary(
        tuple(_step(name, found) for name, found in by_step.items()),
        tuple(Refusal(*key, tuple(layers)) for key, layers in reasons.items()),
    )


def _step(name: str, records: list[Record]) -> Step:
    done = [record for record in records if isinstance(record, Applied)]
    return Step(name, len(done), len(records) - len(done), _what(done))


def _what(done: list[Applied]) -> str:
    """What happened most often; if everything happened once, the first as an example."""
    counts = Counter(record.what for record in done).most_common()
    shown = counts[:_EXAMPLES] if any(n > 1 for _, n in counts) else counts[:1]
    lines = [f"{n} × {what}" if n > 1 else what for what, n in shown]
    return "\n".join(lines + ["…"] * (len(shown) < len(counts)))
