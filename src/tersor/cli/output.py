"""What the commands print: tables for people, JSON for scripts, and errors on one line."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console, RenderableType

from tersor.errors import TersorError

_WIDTH = 120  # columns of tables in a file or a pipe; terminals have their own, within reason
_LEAST_WIDTH = 110


def show(result: RenderableType | dict[str, Any]) -> None:
    """Print a table for people, or JSON for scripts.

    Args:
        result: The table, or what becomes JSON.
    """
    if isinstance(result, dict):
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    console = Console()
    console.width = max(console.width, _LEAST_WIDTH) if console.is_terminal else _WIDTH
    console.print(result)


@contextmanager
def one_line(debug: bool) -> Iterator[None]:
    """Turn an error into one line on standard error and an exit code.

    Args:
        debug: Let the error through, with its traceback.
    """
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            yield
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        message, code = _explain(error)
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(code) from error


def _explain(error: BaseException) -> tuple[str, int]:
    text = " ".join(str(error).split())
    if isinstance(error, TersorError):
        return text, 1
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    return f"internal error, {type(error).__name__}: {text}; run with --debug", 2
