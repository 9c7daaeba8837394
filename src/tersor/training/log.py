"""The log of a run: numbers in memory, a CSV file, and TensorBoard."""

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tersor.errors import UnsupportedError
from tersor.files import write_atomically

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
            text = io.StringIO(newline="")
            rows = csv.writer(text)
            rows.writerow([field.name for field in fields(Line)])
            rows.writerows(asdict(line).values() for line in self.lines)
            write_atomically(self.path, text.getvalue().encode())

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
    """Read the lines of a file, up to the first that is truncated or damaged."""
    if not path.exists():
        return []
    found: list[Line] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        try:
            for row in csv.DictReader(file):
                numbers = {field.name: float(row[field.name]) for field in fields(Line)}
                found.append(Line(**{**numbers, "step": int(numbers["step"])}))
        except (TypeError, ValueError, KeyError, OverflowError, csv.Error):
            pass
    return found


def _writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UnsupportedError(
            "Training(tensorboard=True) needs TensorBoard: pip install 'tersor[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=step)
