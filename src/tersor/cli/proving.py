"""Writes a file, verifies it, and says whether it can be used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from tersor.cli.output import say
from tersor.errors import TersorError
from tersor.export.onnx.writer import ExportResult
from tersor.export.proof.limits import Limits
from tersor.export.proof.verification import Verification
from tersor.files import temporary_folder

SAMPLES = "SOURCE"  # stands for samples that the user has yet to name
_FAILED = 3  # the exit code if a limit is not kept


@dataclass(frozen=True)
class Proved:
    """A file and what is known of it.

    Attributes:
        written: The result of the export.
        checked: The measurements, or None if the file was not verified.
        failures: The limits that the file does not keep, one sentence each.
        kept: Whether the file was written.
    """

    written: ExportResult
    checked: Verification | None
    failures: tuple[str, ...] = ()
    kept: bool = True

    def as_dict(self, model: str, data: str | None) -> dict[str, object]:
        """Convert to plain data, ready for JSON.

        Args:
            model: The float model, as the user named it.
            data: The samples that were given, if any.
        """
        names = (model, str(self.written.path), data or SAMPLES)
        return {
            **self.written.as_dict(),
            "written": self.kept,
            "failures": list(self.failures),
            "verification": self.checked and self.checked.as_dict(*names),
        }

    def conclude(
        self,
        model: str,
        data: str | None,
        as_json: bool,
        lost: TersorError | None = None,
    ) -> None:
        """Print the verdict, and exit with a code of its own after a failure.

        Args:
            model: The float model, as the user named it.
            data: The samples that were given, if any.
            as_json: Print nothing, as everything is in the JSON.
            lost: Why the report was not written, if so.

        Raises:
            Exit: A limit is not kept, or the report was not written.
        """
        path = str(self.written.path)
        if not as_json:
            say_verdict(self.checked, (model, path), data)
        if lost is not None:
            say(f"error: {lost}", err=True)
        fail(self.failures, None if self.kept else path)
        if lost is not None:
            raise typer.Exit(1)

    @property
    def said(self) -> str:
        """Whether the file was written, in words."""
        return f"Wrote {self.written.path}" if self.kept else f"{self.written.path} is not written"


def prove(
    export: Callable[[Path], ExportResult],
    check: Callable[[Path], Verification],
    output: Path,
    limits: Limits,
    *,
    verify: bool,
    keep_anyway: bool,
) -> Proved:
    """Write a file and verify it; with limits, it is written in its place only if it keeps them.

    Args:
        export: Writes the file.
        check: Verifies it.
        output: Where the file goes.
        limits: What it has to reach.
        verify: Whether to verify it at all.
        keep_anyway: Whether to write it even if it does not.
    """
    if not verify:
        return Proved(export(output), None)
    if not limits.given or keep_anyway:
        written = export(output)
        checked = check(output)
        return Proved(written, checked, tuple(limits.failures(checked)))
    with temporary_folder() as folder:
        trial = folder / output.name
        written = replace(export(trial), path=output)
        checked = check(trial)
        failures = tuple(limits.failures(checked))
    if not failures:
        written = export(output)
    return Proved(written, checked, failures, not failures)


def say_verdict(checked: Verification | None, files: tuple[str, str], data: str | None) -> None:
    """Print whether a file can be used, in one line.

    Args:
        checked: The measurements, or None if the file was not verified.
        files: The float model and the file, as the user named them.
        data: The samples that were given, if any.
    """
    if checked is not None:
        say(f"Verdict: {checked.verdict.line(*files, data or SAMPLES)}")


def fail(failures: tuple[str, ...], lost: str | None = None) -> None:
    """Say which limits are not kept, and exit with a code of its own, if there are any.

    Args:
        failures: The limits, one sentence each.
        lost: The file that was therefore not written, if so.

    Raises:
        Exit: A limit is not kept.
    """
    for sentence in failures:
        say(f"failed: {sentence}", err=True)
    if failures and lost is not None:
        say(f"{lost} was not written; --keep-anyway writes it all the same", err=True)
    if failures:
        raise typer.Exit(_FAILED)
