"""What the exact simulation of a file says of its kernels: rounding, or a fault."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from tersor.export.proof.tally import Comparison

_SOME = 3  # layers that are named; beyond this they are counted
Nodes = Mapping[str, str]


@dataclass(frozen=True)
class Parting:
    """A node that computes something else than its arithmetic says, on the same inputs.

    Attributes:
        layer: Name of the node.
        op: Its operator.
        share: The share of its values that differ.
        largest: The largest difference, in its own units: steps, if it returns integers.
    """

    layer: str
    op: str
    share: float
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.layer} ({self.op}) computes something else on the same inputs: "
            f"{100 * self.share:.2g} % of its values differ, by at most {self.largest:g}"
        )


@dataclass(frozen=True)
class Arithmetic:
    """The file as users run it, against the exact simulation.

    Attributes:
        outputs: Output name → comparison.
        samples: Number of samples.
        computed: Name → operator of the nodes that the simulation computed.
        unknown: Name → operator of integer kernels whose arithmetic is not known.
        others: Number of the other nodes. They move values or are in float.
        saturated: Name → share of the sums that saturate in the kernels of this machine.
        partings: The nodes at which runtime and simulation part, in order.
        computed_by: What computed the others.
    """

    outputs: Mapping[str, Comparison]
    samples: int
    computed: Nodes
    unknown: Nodes
    others: int
    saturated: Mapping[str, float]
    partings: tuple[Parting, ...] = ()
    computed_by: str = "onnxruntime"

    @property
    def is_equal(self) -> bool:
        """Whether every bit of every output is the same."""
        return all(comparison.sqnr == inf for comparison in self.outputs.values())

    def rows(self) -> Iterator[tuple[str, str]]:
        """The rows of a table: each a name and a value."""
        for name, comparison in self.outputs.items():
            title = "runtime against exact simulation"
            label = title if len(self.outputs) == 1 else f"{title}, {name}"
            yield label, f"{comparison}, on the first {self.samples} samples"
        yield "exact simulation", self._scope()
        if self.unknown:
            yield "not known exactly", _listed(self.unknown)
        if self.saturated:
            worst = sorted(self.saturated.items(), key=lambda item: -item[1])
            shares = {name: f"{100 * share:.2g} % of its sums" for name, share in worst}
            yield "fault: sums saturate", _listed(shares)
        yield from (("fault", str(parting)) for parting in self.partings)
        if self.is_equal and self.computed and not self.saturated:
            yield "rounding or fault", self._rounding()

    def as_dict(self) -> dict[str, object]:
        """Convert to plain data, ready for JSON."""
        return {
            "outputs": {name: c.as_dict() for name, c in self.outputs.items()},
            "samples": self.samples,
            "is_equal": self.is_equal,
            "computed": dict(self.computed),
            "unknown": dict(self.unknown),
            "others": self.others,
            "saturated": dict(self.saturated),
            "partings": [vars(parting) for parting in self.partings],
        }

    def _rounding(self) -> str:
        """What follows if every bit is the same."""
        what = " apart from the kernels that are not known," if self.unknown else ""
        return (
            f"rounding:{what} every bit is that of the kernels' own arithmetic, so the runtime "
            "leaves the simulation only where a value lies in the middle of two integers"
        )

    def _scope(self) -> str:
        text = f"{len(self.computed)} nodes in the kernels' own arithmetic"
        if not self.others:
            return text
        by = self.computed_by
        return f"{text}; {by} computed {self.others} others, which move values or are float"


def _listed(named: Mapping[str, str]) -> str:
    some = ", ".join(f"{name} ({what})" for name, what in list(named.items())[:_SOME])
    more = len(named) - _SOME
    return some if more <= 0 else f"{some}, and {more} more"
