"""The option `--report` of the commands that produce a model."""

import shlex
import sys
from pathlib import Path
from typing import Any

from tersor.cli.output import say
from tersor.data.given.sources import Source
from tersor.errors import TersorError
from tersor.export.proof.verification import Verification
from tersor.report.progress import Bar
from tersor.report.saved import check
from tersor.results.compressed import Compressed
from tersor.results.quantized import Quantized


def check_report(path: Path | None) -> None:
    """Check that a report can be written, before the work starts.

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
) -> TersorError | None:
    """Write a report of what a command produced, if the user asked for one.

    Args:
        made: The model.
        path: Path of the report, or None.
        files: The model as the user named it, and the file that was written.
        inputs: The samples that the file was verified on.
        checked: The result of the verification, or None.
        bar: Shows the progress of measuring layers.
        known: Further contents; see `tersor.results.reporting.Wanted`.

    Returns:
        Why it could not be written, to be told after the results; None if it was.
    """
    if path is None:
        return None
    try:
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
    except TersorError as error:
        return error
    return None


def said(path: Path | None, lost: TersorError | None, as_json: bool) -> None:
    """Print where the report is, if there is one.

    Args:
        path: Path of the report, or None.
        lost: What `save_report` returned.
        as_json: Whether only JSON is printed.
    """
    if path is not None and lost is None and not as_json:
        say(f"Wrote {path}.")
