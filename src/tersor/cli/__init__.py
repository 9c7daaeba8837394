"""The command line: each command calls a public function and shows what it returns.

Commands import what they need only when they run, so help and completion do not wait for PyTorch.
"""

import os
import signal
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from tersor.cli.check_command import inspect, verify
from tersor.cli.command import Command
from tersor.cli.compare_command import compare
from tersor.cli.compress_command import compress
from tersor.cli.demo_command import demo
from tersor.cli.diagnose_command import diagnose
from tersor.cli.doctor_command import doctor
from tersor.cli.output import IS_QUIET, IS_VERBOSE
from tersor.cli.quantize_command import quantize
from tersor.cli.train_command import train
from tersor.names import TARGETS

_SCHEMES = "\n\n".join(f"{name}: {words}." for name, words in TARGETS.items())

app = typer.Typer(
    help="Make PyTorch and ONNX models small and fast, with or without data, and verify the files.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _show_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tersor {version('tersor')}")
        raise typer.Exit
    return wanted


@app.callback()
def _main(
    show_version: Annotated[  # noqa: ARG001
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", help="Print nothing but warnings and errors, and JSON. For every command."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="Also print what was done and refused, layer by layer. For every command.",
        ),
    ] = False,
) -> None:
    """Make PyTorch and ONNX models small and fast, with or without data, and verify the files."""
    IS_QUIET.set(quiet)
    IS_VERBOSE.set(verbose)


def _read(*pages: str) -> str:
    """The pages to read next, for the end of a help text."""
    return "See also " + " and ".join(f"docs/{page}.md" for page in pages) + "."


app.command(epilog=f"{_SCHEMES}\n\n{_read('quickstart', 'data')}", cls=Command)(quantize)
app.command(epilog=_read("training"), cls=Command)(train)
app.command(epilog=_read("compression"), cls=Command)(compress)
app.command(epilog=_read("quickstart"), cls=Command)(inspect)
app.command(epilog=_read("quickstart"), cls=Command)(verify)
app.command(epilog=_read("report"), cls=Command)(compare)
app.command(epilog=_read("debugging"), cls=Command)(diagnose)
app.command(epilog=_read("quickstart"), cls=Command)(demo)
app.command(epilog=_read("levels"), cls=Command)(doctor)


def main() -> None:
    """The console script `tersor`.

    PyTorch's idle threads sleep instead of spinning: a command has many small steps, and spins
    through more seconds than it computes. They read the setting when PyTorch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it cleans up, as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may have no sign for ×
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write
        sys.exit(f"error: the result cannot be printed: {error.strerror or error}")
