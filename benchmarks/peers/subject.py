"""What all programs are given, and what their files are tested on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
#: Facts of outputs, and numbers of the things that are scored → the score.
Score = Callable[[Any, np.ndarray], float]
_DRAWINGS = 1000


def _as_they_are(outputs: np.ndarray) -> np.ndarray:
    return outputs


@dataclass(frozen=True)
class Subject:
    """What all programs are given, and what their files are tested on.

    Attributes:
        name: Its name.
        path: The float file.
        samples: What is calibrated with: an .npz file with one array for each input.
        test: Other samples, likewise.
        measure: What the score is.
        score: Scores some of the things, by the facts of outputs.
        count: Things that are scored: images, or pairs of sentences.
        facts: What the score needs to know of outputs, found once for all drawings.
        drawings: Drawings of the things for the interval.
    """

    name: str
    path: Path
    samples: Path
    test: Path
    measure: str
    score: Score
    count: int
    facts: Callable[[np.ndarray], Any] = _as_they_are
    drawings: int = _DRAWINGS

    @property
    def one(self) -> dict[str, np.ndarray]:
        """One sample to be timed with."""
        with np.load(self.test, allow_pickle=False) as arrays:
            return {name: x[:1] for name, x in arrays.items()}


def stored(path: Path, arrays: Arrays) -> Path:
    """Write arrays into an .npz file.

    Args:
        path: The file.
        arrays: Name of an input → its samples.
    """
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path
