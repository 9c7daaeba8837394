"""Results as JSON lines: one architecture a line, the last line about it counts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

#: Simulation and runtime agree from here on, in dB; or within this of what exact kernels reach.
ENOUGH, _TOLERANCE = 30, 1.5

#: Standard deviation over samples, relative to the size of the outputs: below, they are constant.
_CONSTANT = 1e-6

#: Figures of exact computations: by exact integer kernels, and by the simulation in float64.
EXACT, DOUBLE = "sqnr_exact", "ceiling"


class Results:
    """A file of results that grows.

    Attributes:
        path: The file.
        rows: (library, name) → its last row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], Row] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self.rows[row["library"], row["name"]] = row

    def has(self, library: str, name: str, passed_only: bool) -> bool:
        """Is there a result, or one that passed?"""
        row = self.rows.get((library, name))
        return row is not None and (passed(row) or not passed_only)

    def add(self, row: Row) -> None:
        """Append a row."""
        self.rows[row["library"], row["name"]] = row
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def of(self, library: str) -> Iterator[Row]:
        """The rows of a library."""
        return (row for row in self.rows.values() if row["library"] == library)


def passed(row: Row) -> bool:
    """Captured, quantized, exported and run?"""
    return row["stage"] == "done"


def agrees(row: Row, exact: str = EXACT) -> bool:
    """Does the file compute what the simulation computes, as far as an exact computation does?

    If the outputs of the simulation do not depend on the inputs, that shows nothing.

    Args:
        row: A row.
        exact: Which one, `EXACT` or `DOUBLE`. Where it did not run, 30 dB count.
    """
    if not passed(row) or row["spread"] < _CONSTANT:
        return False
    reached = row[exact]
    return row["sqnr"] >= (ENOUGH if reached is None else min(ENOUGH, reached - _TOLERANCE))
