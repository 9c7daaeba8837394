"""A markdown table on stdout, row by row as results come in, and the raw figures in a file."""

import argparse
import json
import sys
from typing import Any

from tersor.export.sessions.machine import doctor


class Table:
    """Prints its head when made, and every row when added.

    Attributes:
        raw: The raw figures of every row so far.
    """

    def __init__(self, args: argparse.Namespace, *columns: str) -> None:
        """Print the command, the machine and the head of the table.

        Args:
            args: The parsed arguments; `args.json` says where the raw figures go.
            columns: Titles.
        """
        self.path = args.json
        self.head = {"command": _command(), "machine": str(doctor()), "columns": columns}
        self.raw: list[dict[str, Any]] = []
        print(f"`{self.head['command']}`  \n{self.head['machine']}\n")
        self._print(columns)
        self._print(["---"] * len(columns))

    def add(self, *cells: str, **raw: Any) -> None:
        """Print one row, and write all raw figures so far.

        Args:
            cells: One text per column.
            raw: The figures behind them.
        """
        assert len(cells) == len(self.head["columns"]), cells
        self._print(cells)
        self.raw.append(raw)
        if self.path is not None:
            self.path.write_text(json.dumps({**self.head, "rows": self.raw}, indent=1))

    @staticmethod
    def _print(cells: Any) -> None:
        print(f"| {' | '.join(cells)} |", flush=True)


def progress(*words: Any) -> None:
    """Say on stderr what is running."""
    print("…", *words, file=sys.stderr, flush=True)


def _command() -> str:
    spec = sys.modules["__main__"].__spec__
    name = sys.argv[0] if spec is None else f"python -m {spec.name.removesuffix('.__main__')}"
    return " ".join([name, *sys.argv[1:]])
