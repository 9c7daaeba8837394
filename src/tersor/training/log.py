"""The log of a run: numbers in memory, a CSV file, and TensorBoard."""

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tersor.errors import UnsupportedError

NAME = "log.csv"
OnBatch = Callable[[int, int, float], None]  # finished batches, all batches, last loss


@dataclass(frozen=True)
class Line:
    """A line of the log: a few steps of training.

    Attributes:
        step: Number of finished batches.
        loss: Mean over the batches since the previous line.
        rate: Learning rate of the weights.
        frozen: Share of the weights that are frozen.
        seconds: Time since the run began or resumed.
    """

    step: int
    loss: float
    rate: float
    frozen: float
    seconds: float


class Log:
    """The log so far.

    Attributes:
        lines: All lines.
    """

    def __init__(self, folder: Path | None, tensorboard: bool, step: int = 0) -> None:
        """Begin a log, or continue one.

        Args:
            folder: Folder of the files, or None.
            tensorboard: Whether to write events for TensorBoard.
            step: The step from which the run resumes: later lines are dropped.
        """
        self.path = None if folder is None else folder / NAME
        self.lines: list[Line] = []
        self._writer: Any = None
        if tensorboard and folder is not None:
            self._writer = _writer(folder, step)
        if self.path is not None:
            self.lines = [line for line in _read(self.path) if line.step <= step]
            with self.path.open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow([field.name for field in fields(Line)])
                rows.writerows(asdict(line).values() for line in self.lines)

    def add(self, line: Line) -> None:
        """Add a line."""
        self.lines.append(line)
        if self.path is not None:
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow(asdict(line).values())
        if self._writer is not None:
            for name, value in asdict(line).items():
                self._writer.add_scalar(name, value, line.step)

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()


def _read(path: Path) -> list[Line]:
    """Read the lines of a file; a truncated last line is dropped."""
    if not path.exists():
        return []
    found = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                numbers = {field.name: float(row[field.name]) for field in fields(Line)}
            except (TypeError, ValueError, KeyError):
                break
            found.append(Line(**{**numbers, "step": int(numbers["step"])}))
    return found


def _writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UnsupportedError(
            "Training(tensorboard=True) needs TensorBoard: pip install 'tersor[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=step)
