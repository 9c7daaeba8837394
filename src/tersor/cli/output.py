"""What the commands print: tables for people, JSON for scripts, and errors on one line."""

import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, RenderableType

from tersor.errors import TersorError, TersorWarning
from tersor.report.plain_text import plain_json, plain_line, plain_text

if TYPE_CHECKING:
    from tersor.graph.network import Record

INTERRUPTED, INTERRUPTED_CODE = "interrupted", 130
SCHEMA = 1  # version of the JSON: higher once a key goes or changes its meaning
_WIDTH = 120  # columns of tables in a file or a pipe; terminals have their own, within reason
_LEAST_WIDTH = 110
IS_QUIET: ContextVar[bool] = ContextVar("is_quiet", default=False)
IS_VERBOSE: ContextVar[bool] = ContextVar("is_verbose", default=False)


def show(result: RenderableType | dict[str, Any]) -> None:
    """Print a table for people, or JSON for scripts.

    Args:
        result: The table, or what becomes JSON.
    """
    if isinstance(result, dict):
        result = {"schema": SCHEMA, **result}
        typer.echo(plain_json(json.dumps(result, indent=2, ensure_ascii=False)))
        return
    console = Console(markup=False)  # names of users may have brackets
    console.width = max(console.width, _LEAST_WIDTH) if console.is_terminal else _WIDTH
    console.print(result)


def say(text: str, err: bool = False) -> None:
    """Print a text, in which names from a file may have any characters.

    Args:
        text: The text.
        err: Whether it goes to standard error.
    """
    typer.echo(plain_text(text), err=err)


def show_records(records: "Iterable[Record]") -> None:
    """Print what was done and refused, layer by layer, with `--verbose`.

    Args:
        records: What the steps did and refused, in order.
    """
    if not IS_VERBOSE.get():
        return
    from tersor.graph.network import Skipped

    for record in records:
        said = f"refused: {record.reason}" if isinstance(record, Skipped) else record.what
        say(f"{record.step}, {record.layer}: {said}.")


@contextmanager
def one_line(debug: bool) -> Iterator[None]:
    """Turn an error into one line on standard error and an exit code.

    Args:
        debug: Let the error through, with its traceback.
    """
    told: list[str] = []
    try:
        with _own_warnings(told, debug):
            yield
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        message, code = _explain(error)
        say(f"error: {message}", err=True)
        raise typer.Exit(code) from error
    finally:
        for message in told:
            say(f"warning: {message}", err=True)


@contextmanager
def _own_warnings(told: list[str], debug: bool) -> Iterator[None]:
    """Collect Tersor's own warnings, each once; others are shown with their place or not at all."""

    def show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
        text = plain_line(message)
        if not issubclass(category, TersorWarning):
            others(message, category, *place)
        elif text not in told:
            told.append(text)

    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", TersorWarning)
        others, warnings.showwarning = warnings.showwarning, show_warning
        yield


def _explain(error: BaseException) -> tuple[str, int]:
    text = plain_line(error)
    if isinstance(error, TersorError):
        return text, 1
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, INTERRUPTED_CODE
    return f"internal error, {type(error).__name__}: {text}; run with --debug", 2
