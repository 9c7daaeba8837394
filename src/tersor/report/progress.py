"""A progress bar for the steps of a pipeline, on standard error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


class Bar:
    """The handle of a running progress bar."""

    def __init__(self, shown: Progress, steps: int) -> None:
        self._shown = shown
        self._task = shown.add_task("start", total=steps)
        self._begun = False

    def step(self, name: str) -> None:
        """Announce the next step; the one before it is done."""
        self._shown.update(self._task, description=name, advance=1 if self._begun else 0)
        self._begun = True

    def track(self, batches: Sequence[T]) -> Iterator[T]:
        """The same batches, counted by a bar of their own."""
        yield from self._shown.track(batches, description="batches")


@contextmanager
def progress(steps: int) -> Iterator[Bar]:
    """Show the current step, how many are done, the time so far, and the time left.

    It vanishes at the end, and nothing is shown where standard error is no terminal.

    Args:
        steps: How many steps will be announced.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as shown:
        yield Bar(shown, steps)
