"""`tersor doctor`: what this machine makes of integers."""

import typer

from tersor.cli import options
from tersor.cli.output import one_line, show


def doctor(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Show what this machine has, and what that means for quantized files.

    For example:

        tersor doctor

        tersor doctor --json
    """
    from tersor.export import machine
    from tersor.report.tables import pairs_table

    with one_line(debug):
        found = machine.doctor()
    if as_json:
        show(found.as_dict())
        return
    show(pairs_table("This machine", found.rows()))
    for line in found.advice():
        typer.echo(line)
