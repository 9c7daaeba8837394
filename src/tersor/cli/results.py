"""Shows a model that a command has quantized."""

import typer

from tersor.cli.output import show
from tersor.export.onnx import ExportResult
from tersor.export.verification import Verification
from tersor.report.tables import pairs_table
from tersor.results.quantized import Quantized


def show_quantized(
    quantized: Quantized,
    written: ExportResult,
    checked: Verification | None,
    where: str,
    as_json: bool,
) -> None:
    """Show what was done to a model.

    Args:
        quantized: The model.
        written: Its file.
        checked: How it compares with the float model, or None if it was not compared.
        where: What it was compared on, in words.
        as_json: Print JSON instead of tables.
    """
    summary = quantized.summary()
    if as_json:
        verification = checked.as_dict() if checked else None
        show({**written.as_dict(), **summary.as_dict(), "verification": verification})
        return
    show(summary)
    if checked:
        show(pairs_table(f"Verified {where}", checked.rows()))
    for line in (*written.weights, *written.notes):
        typer.echo(f"{line}.")
    typer.echo(f"Wrote {written.path} for {quantized.scheme.name}.")
