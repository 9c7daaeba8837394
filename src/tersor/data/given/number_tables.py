"""Reads samples from a table of numbers: a `.csv` file with a sample per line."""

import csv
from pathlib import Path

import numpy as np

from tersor.data.given.feeds import Arrays
from tersor.data.given.numpy_files import with_labels
from tersor.errors import InvalidInputError

_LABELS = ("label", "labels")
_LARGEST = 2**53  # beyond which float64 has no whole numbers but some
_DELIMITERS = ",;\t "


def load_table(path: str | Path) -> tuple[Arrays, np.ndarray | None]:
    """Read a table as one input `[samples, columns]` of float32.

    Args:
        path: A file with a sample per line, separated by commas, semicolons, tabs or blanks. The
            first line may name the columns; one called `label` or `labels` holds the classes.

    Returns:
        The array under the name of the file, and the labels or None.

    Raises:
        InvalidInputError: The file does not exist, or a cell is no number; names the line.
    """
    path = Path(path)
    rows = _rows(path)
    names = [] if _is_numbers(rows[0][1]) else rows.pop(0)[1]
    if not rows:
        raise InvalidInputError(f"{str(path)!r} holds no line of numbers; give at least one sample")
    table = np.array([_numbers(path, line, cells, len(rows[0][1])) for line, cells in rows])
    if names and len(names) != table.shape[1]:
        raise InvalidInputError(
            f"{str(path)!r} names {len(names)} columns and has {table.shape[1]}; name each of them"
        )
    places = [i for i, name in enumerate(names) if name.strip().lower() in _LABELS]
    with np.errstate(over="ignore"):  # what float32 does not hold is infinite, which is told
        inputs = np.delete(table, places[:1], axis=1).astype(np.float32)
    arrays: Arrays = {path.name: inputs}
    if places:
        arrays["labels"] = _classes(path, table[:, places[0]])
    return with_labels(path, arrays)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, each with its number and its cells."""
    if not path.is_file():
        raise InvalidInputError(f"{str(path)!r}: there is no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{str(path)!r} is no text; save the table as CSV") from error
    found = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InvalidInputError(f"{str(path)!r} is empty; give at least one sample")
    first = found[0][1]
    delimiter = max(_DELIMITERS, key=lambda mark: (first.count(mark), -_DELIMITERS.index(mark)))
    cells = csv.reader((line for _, line in found), delimiter=delimiter, skipinitialspace=True)
    try:
        return [(number, row) for (number, _), row in zip(found, cells, strict=True)]
    except (csv.Error, ValueError) as error:  # a quotation mark that no other one ends
        raise InvalidInputError(
            f"{str(path)!r} has quoted cells over several lines, or of endless length; write "
            "numbers without quotation marks"
        ) from error


def _is_numbers(cells: list[str]) -> bool:
    try:
        [float(cell) for cell in cells]
    except ValueError:
        return False
    return True


def _numbers(path: Path, line: int, cells: list[str], columns: int) -> list[float]:
    if len(cells) != columns:
        raise InvalidInputError(
            f"{str(path)!r}, line {line}: {len(cells)} columns, but {columns} in the first line of "
            "numbers; give every sample the same number"
        )
    for cell in cells:
        if not _is_numbers([cell]):
            raise InvalidInputError(
                f"{str(path)!r}, line {line}: {cell!r} is no number; replace it, or leave its "
                "column out"
            )
    return [float(cell) for cell in cells]


def _classes(path: Path, column: np.ndarray) -> np.ndarray:
    if not np.array_equal(column, np.round(column)) or np.abs(column).max() > _LARGEST:
        raise InvalidInputError(
            f"{str(path)!r}: its labels are no whole numbers; number the classes from 0"
        )
    return column.astype(np.int64)
