"""Measures each part of what a network returns by what the part is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import inf
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.core.metrics import cosines, decibels, signal_and_noise
from tersor.data.outputs.output_parts import Part, find_parts
from tersor.errors import InvalidInputError

_MOST_DB = 200.0  # float32 has no more digits, and JSON has no infinity


@dataclass(frozen=True)
class Figure:
    """How far a part of an output is from that of the float network.

    Attributes:
        part: The part.
        sqnr: Signal-to-noise ratio in dB; infinite if all values are equal.
        share: Of classes and integers the share that is the same, of embeddings the mean cosine;
            None for scores and values.
        rows: How many classes, vectors or integers were compared; 0 for scores and values.
        distinct: How many different classes there are among them.
    """

    part: Part
    sqnr: float
    share: float | None = None
    rows: int = 0
    distinct: int = 0

    def as_dict(self) -> dict[str, object]:
        """Convert to plain data, ready for JSON; SQNR is limited to ±200 dB."""
        return {
            "part": self.part.name,
            "kind": self.part.kind,
            "sqnr_db": max(-_MOST_DB, min(_MOST_DB, self.sqnr)),
            "share": self.share,
        }

    def __str__(self) -> str:
        """The figure in words, without the name of the part."""
        if self.sqnr == inf:
            return "equal to the float model"
        noise = f"{self.sqnr:.1f} dB against the float model"
        if self.share is None:
            return noise
        if self.part.kind == "embeddings":
            return f"cosine {self.share:.4f}, {noise}"
        return f"{self.share:.2%} of {self.rows:,} {self.part.kind} agree, {noise}"


@dataclass
class PartTally:
    """Sums over batches, from which the `Figure` of a part follows.

    Attributes:
        part: The part.
    """

    part: Part
    _energies: tuple[float, float] = (0.0, 0.0)
    _alike: float = 0.0
    _rows: int = 0
    _classes: set[int] = field(default_factory=set)

    def add(self, reference: Tensor, test: Tensor) -> None:
        """Add one batch of the whole output.

        Args:
            reference: The output of the float network.
            test: The output to judge, of the same shape.
        """
        wanted, given = self.part.of(reference), self.part.of(test)
        signal, noise = signal_and_noise(wanted, given)
        self._energies = self._energies[0] + signal, self._energies[1] + noise
        alike = self._compared(wanted, given)
        if alike is not None:
            self._alike += float(alike.double().sum())
            self._rows += alike.numel()

    def _compared(self, wanted: Tensor, given: Tensor) -> Tensor | None:
        match self.part.kind:
            case "classes":
                classes = wanted.argmax(-1)
                self._classes.update(classes.unique().tolist())
                return classes == given.argmax(-1)
            case "integers":
                return wanted == given
            case "embeddings":
                return cosines(wanted, given)
            case _:
                return None

    def figure(self) -> Figure:
        """The result over all batches so far."""
        share = self._alike / self._rows if self._rows else None
        return Figure(self.part, decibels(*self._energies), share, self._rows, len(self._classes))


def figures(
    outputs: Sequence[Any], reference: Sequence[Any], names: Sequence[str] = ()
) -> list[Figure]:
    """Measure every part of everything that a network returns.

    Args:
        outputs: What the network returns, for every batch.
        reference: What the float network returns.
        names: Names of the outputs, in order, as far as they have any.

    Raises:
        InvalidInputError: The network returns no tensor.
    """
    pairs = [
        list(zip(_tensors(y), _tensors(x), strict=True))
        for y, x in zip(outputs, reference, strict=True)
    ]
    if not pairs or not pairs[0]:
        raise InvalidInputError("the model returns no tensor to measure; give a metric")
    found: list[Figure] = []
    for number, (name, _) in enumerate(zip_longest(names, pairs[0], fillvalue="")):
        batches = [batch[number] for batch in pairs]
        tallies = [PartTally(part) for part in find_parts(str(name), batches[0][1])]
        for test, wanted in batches:
            for tally in tallies:
                tally.add(wanted, test)
        found += [tally.figure() for tally in tallies]
    return found


def _tensors(outputs: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]
