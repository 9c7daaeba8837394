"""Shows progress bars for the steps of a pipeline, its layers and its data, on standard error."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import wraps
from importlib.util import find_spec
from inspect import signature
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from tersor.graph.network import Record
from tersor.report.plain_text import plain_line
from tersor.report.summary import change
from tersor.training.log import OnBatch

T = TypeVar("T")
P = ParamSpec("P")
_IS_SHOWN: ContextVar[bool] = ContextVar("is_shown", default=False)
_IS_WANTED: ContextVar[bool] = ContextVar("is_wanted", default=True)
# The callbacks of long calls, and the methods of a bar that handle them.
_CALLBACKS = {"on_step": "step", "on_layer": "layer", "on_part": "layer", "on_batch": "batch"}
_EVERY = 60.0  # seconds


class Bar:
    """The handle of a running progress bar."""

    def __init__(self, shown: Progress, steps: int) -> None:
        self._shown = shown
        self._lines = _Lines(shown)
        self._step = "start"
        self._task = shown.add_task("start", total=steps)
        self._names: dict[str, None] = {}
        self._layers = self._hidden()

    def step(self, name: str) -> None:
        """Announce the next step, which ends the previous one. A repeated step counts once."""
        self._names.setdefault(name)
        self._shown.update(self._task, description=name, completed=len(self._names) - 1)
        self._step = name
        self._lines.say(name)
        self._renew_layers()

    def layer(self, number: int, total: int, record: Record) -> None:
        """Show what was done to a layer, and how much time the others will take.

        Args:
            number: Number of finished layers.
            total: Number of all layers.
            record: What was done to the last layer.
        """
        moved = change(record)
        name = plain_line(record.layer)
        said = escape(name + (f": {moved[0]:.3g} → {moved[1]:.3g}" if moved else ""))
        self._shown.update(
            self._layers, description=said, completed=number, total=total, visible=True
        )
        self._lines.say(f"{self._step}: {number} of {total}, {name}")
        if number == total:
            self._renew_layers()

    def batch(self, number: int, total: int, loss: float) -> None:
        """Show the progress of training, its loss, and the time left.

        Args:
            number: Number of finished batches.
            total: Number of all batches.
            loss: The last recorded loss; NaN before the first.
        """
        self._shown.update(
            self._layers, description=_loss(loss), completed=number, total=total, visible=True
        )
        self._lines.say(f"{number} of {total} batches, {_loss(loss)}")
        if number == total:
            self._renew_layers()

    def _renew_layers(self) -> None:
        """Start the clock of the layers together with the step that goes through them."""
        self._shown.remove_task(self._layers)
        self._layers = self._hidden()

    def _hidden(self) -> TaskID:
        return self._shown.add_task("layers", total=None, visible=False)

    def track(self, batches: Iterable[T]) -> Iterator[T]:
        """Iterate over batches, counted by a bar of their own."""
        yield from self._shown.track(batches, description="batches")


class _Lines:
    """Writes a line of text once a minute where no bar can be shown, such as in a log file."""

    def __init__(self, shown: Progress) -> None:
        self._console = shown.console if shown.disable else None
        self._next = monotonic() + _EVERY

    def say(self, text: str) -> None:
        """Write how far the run is, if a line is due."""
        if self._console is not None and monotonic() >= self._next:
            self._next = monotonic() + _EVERY
            self._console.print(f"{datetime.now():%H:%M:%S} {text}", markup=False, highlight=False)


class _TimeLeft(ProgressColumn):
    """Estimates the time left from all finished steps, since one may exceed rich's time window."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("-:--:--")
        seconds = task.elapsed * (task.total - task.completed) / task.completed
        return Text(str(timedelta(seconds=int(seconds))))


@contextmanager
def progress(steps: int) -> Iterator[Bar]:
    """Show the current step, how many are done, the time so far, and the time left.

    The bar vanishes at the end. If standard error is neither a terminal nor a notebook with
    widgets, a line of text is written once a minute.

    Args:
        steps: Number of steps that will be announced.
    """
    before = _IS_SHOWN.set(True)
    try:
        with _bars() as shown:
            yield Bar(shown, steps)
    finally:
        _IS_SHOWN.reset(before)


@contextmanager
def no_bars() -> Iterator[None]:
    """Show no progress, neither as a bar nor as lines of text."""
    before = _IS_WANTED.set(False)
    try:
        yield
    finally:
        _IS_WANTED.reset(before)


def shows_progress(steps: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Show a bar during a long call, unless its caller passes `on_step` or the like.

    A call inside another call that shows a bar shows none.

    Args:
        steps: Number of steps that the call will announce.
    """

    def decorate(call: Callable[P, T]) -> Callable[P, T]:
        names = [name for name in _CALLBACKS if name in signature(call).parameters]

        @wraps(call)
        def shown(*args: P.args, **kwargs: P.kwargs) -> T:
            if _IS_SHOWN.get() or any(kwargs.get(name) is not None for name in names):
                return call(*args, **kwargs)
            with progress(steps) as bar:
                handles: dict[str, Any] = {name: getattr(bar, _CALLBACKS[name]) for name in names}
                return call(*args, **{**kwargs, **handles})

        return shown

    return decorate


def _bars(shown: bool = True) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        _TimeLeft(),
    )
    console = Console(stderr=True)
    has_widgets = console.is_jupyter and find_spec("ipywidgets") is not None
    can_show = console.is_terminal or has_widgets
    shown = shown and _IS_WANTED.get()
    console.quiet = not shown
    return Progress(*columns, console=console, transient=True, disable=not (shown and can_show))


@contextmanager
def training_bar(given: OnBatch | None = None) -> Iterator[OnBatch]:
    """Show the number of finished batches, the loss, and the time left, in one process only.

    Args:
        given: A callback to call instead.
    """
    if given is not None:
        yield given
        return
    with _bars(shown=os.environ.get("RANK", "0") == "0") as shown:
        task, lines = shown.add_task("train", total=None), _Lines(shown)

        def on_batch(done: int, total: int, loss: float) -> None:
            if shown.tasks[task].total != total:  # another run, which may resume in its middle
                shown.reset(task, total=total, completed=done - 1)
            shown.update(task, description=_loss(loss), completed=done)
            lines.say(f"{done} of {total} batches, {_loss(loss)}")

        yield on_batch


def _loss(loss: float) -> str:
    return "train" if loss != loss else f"loss {loss:.4g}"
