"""Compares two series of outputs, summed up batch by batch."""

from dataclasses import dataclass, field
from math import inf

import numpy as np
import torch

from tersor.core.metrics import decibels, signal_and_noise
from tersor.data.outputs.figures import Figure, PartTally
from tersor.data.outputs.output_parts import Part, find_parts
from tersor.errors import InvalidInputError

#: Largest SQNR in tables and JSON: float32 has no more digits, and JSON has no infinity.
_EQUAL_DB = 200.0


@dataclass(frozen=True)
class Comparison:
    """The distance between two series of outputs.

    Attributes:
        sqnr: Signal-to-noise ratio in dB; infinite if all values are equal.
        max_difference: Largest absolute difference.
        max_value: Largest absolute value of the reference.
        top1: Share of samples, or pixels, with the same class; None unless the output is classes.
        parts: The figures of each part of the output.
    """

    sqnr: float
    max_difference: float
    max_value: float
    top1: float | None
    parts: tuple[Figure, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Convert to plain numbers, ready for JSON; SQNR is limited to ±200 dB."""
        return {
            "sqnr_db": max(-_EQUAL_DB, min(_EQUAL_DB, self.sqnr)),
            "max_difference": self.max_difference,
            "max_value": self.max_value,
            "top1": self.top1,
            "parts": [figure.as_dict() for figure in self.parts],
        }

    def __str__(self) -> str:
        """One line of text."""
        if self.sqnr == inf:
            return "equal"
        text = f"{self.sqnr:.1f} dB, largest difference {self.max_difference:.3g}"
        text += f" of {self.max_value:.3g}"
        return text if self.top1 is None else f"{text}, top-1 agreement {self.top1:.2%}"


@dataclass
class Tally:
    """Sums over batches, from which a `Comparison` follows.

    Attributes:
        parts: The parts of the output. Default: those of the first batch of the reference.
    """

    parts: tuple[Part, ...] = ()
    signal: float = 0.0
    noise: float = 0.0
    max_difference: float = 0.0
    max_value: float = 0.0
    tallies: list[PartTally] = field(default_factory=list)

    def add(self, reference: np.ndarray, test: np.ndarray) -> None:
        """Add one batch of one output.

        Raises:
            InvalidInputError: The shapes differ.
        """
        if reference.shape != test.shape:
            raise InvalidInputError(
                f"outputs of shape {reference.shape} and {test.shape} cannot be compared; the two "
                "models must compute the same"
            )
        wanted, given = torch.from_numpy(reference), torch.from_numpy(test)
        signal, noise = signal_and_noise(wanted, given)
        self.signal, self.noise = self.signal + signal, self.noise + noise
        difference = np.abs(reference.astype(np.float64) - test.astype(np.float64))
        self.max_difference = max(self.max_difference, _largest(difference))
        self.max_value = max(self.max_value, _largest(np.abs(reference.astype(np.float64))))
        if not self.tallies:
            parts = self.parts or find_parts("", wanted)
            self.tallies = [PartTally(part) for part in parts]
        for tally in self.tallies:
            tally.add(wanted, given)

    def comparison(self) -> Comparison:
        """The result over all batches so far."""
        parts = tuple(tally.figure() for tally in self.tallies)
        classes = [figure.share for figure in parts if figure.part.kind == "classes"]
        return Comparison(
            sqnr=decibels(self.signal, self.noise),
            max_difference=self.max_difference,
            max_value=self.max_value,
            top1=classes[0] if classes else None,
            parts=parts,
        )


def may_have_classes(output: np.ndarray) -> bool:
    """Whether an output has the shape `[batch, classes]`, so that labels can be compared."""
    return output.ndim == 2 and output.shape[1] > 1 and output.dtype.kind == "f"


def _largest(values: np.ndarray) -> float:
    """The largest finite entry; equal infinite values differ by NaN and do not count."""
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0
