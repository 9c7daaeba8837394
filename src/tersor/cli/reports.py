"""`--report` of the commands that make a model."""

import shlex
import sys
from pathlib import Path
from typing import Any

import typer

from tersor.data.sources import Source
from tersor.export.verification import Verification
from tersor.report.progress import Bar
from tersor.report.saved import check
from tersor.results.compressed import Compressed
from tersor.results.quantized import Quantized


def check_report(path: Path | None) -> None:
    """Find out, before the work, whether a report could be written.

    Args:
        path: Where it will go, or None.
    """
    if path is not None:
        check(path)


def save_report(
    made: Quantized | Compressed,
    path: Path | None,
    files: tuple[str, Path],
    inputs: Source | None,
    checked: Verification | None,
    bar: Bar,
    **known: Any,
) -> None:
    """Write a report of what a command made, if it was asked for.

    Args:
        made: The model.
        path: Where the report goes, or None.
        files: What the user named as the model, and the file that was written.
        inputs: The samples that the file was verified on.
        checked: What was found.
        bar: Shows the layers that are measured.
        known: What else goes into it; see `tersor.results.reporting.Wanted`.
    """
    if path is None:
        return
    made.report(
        path,
        inputs,
        verification=checked,
        verify=False,
        title=f"{Path(files[0]).name} → {files[1].name}",
        command=shlex.join(["tersor", *sys.argv[1:]]),
        on_step=bar.step,
        on_layer=bar.layer,
        **known,
    )


def said(path: Path | None) -> None:
    """Say where the report is."""
    if path is not None:
        typer.echo(f"Wrote {path}.")
