"""What all commands share: `--quiet` and `--verbose`, and words for ranges in `--input-range`."""

from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import typer
from typer.core import TyperCommand

from tersor.cli.output import INTERRUPTED, INTERRUPTED_CODE, IS_QUIET, IS_VERBOSE, say
from tersor.names import PICTURE_RANGES

SHARED = {"--quiet": IS_QUIET, "--verbose": IS_VERBOSE}
_RANGE = "--input-range"


class Command(TyperCommand):
    """A command that may be quiet or verbose, whose `--input-range` takes numbers, or a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take out what all commands share, and put numbers in the place of words, then parse.

        Args:
            ctx: The context of the command.
            args: What the user wrote.
        """
        for option, is_asked in SHARED.items():
            if option in args:
                is_asked.set(True)
        return super().parse_args(ctx, in_numbers([arg for arg in args if arg not in SHARED]))

    def invoke(self, ctx: Any) -> Any:
        """Run the command, silently if that is wanted.

        Args:
            ctx: The context of the command.

        Raises:
            Exit: It was interrupted, also while it loads what it needs.
        """
        try:
            return self._run(ctx)
        except KeyboardInterrupt as error:
            say(f"error: {INTERRUPTED}", err=True)
            raise typer.Exit(INTERRUPTED_CODE) from error

    def _run(self, ctx: Any) -> Any:
        if not IS_QUIET.get():
            return super().invoke(ctx)
        if IS_VERBOSE.get():
            raise typer.BadParameter(f"give {' or '.join(SHARED)}, not both")
        from tersor.report.progress import no_bars

        with no_bars():
            if ctx.params.get("as_json"):
                return super().invoke(ctx)
            with redirect_stdout(StringIO()):
                return super().invoke(ctx)


def in_numbers(args: list[str]) -> list[str]:
    """Replace words for ranges by their numbers.

    Args:
        args: The arguments of a command.

    Raises:
        typer.BadParameter: There is neither a number nor a known word after the option.
    """
    found: list[str] = []
    for arg in _apart(args):
        is_value = bool(found) and found[-1] == _RANGE
        if is_value and arg in PICTURE_RANGES:
            found += [f"{end:g}" for end in PICTURE_RANGES[arg]]
        elif is_value and not _is_number(arg):
            words = " and ".join(PICTURE_RANGES)
            raise typer.BadParameter(
                f"{arg!r} is no range; write two numbers, such as 0 1, or one of {words}",
                param_hint=_RANGE,
            )
        else:
            found.append(arg)
    return found


def _apart(args: list[str]) -> Iterator[str]:
    """The arguments, with `--input-range=pixels` as two."""
    for arg in args:
        option, equals, value = arg.partition("=")
        yield from (option, value) if equals and option == _RANGE else (arg,)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
