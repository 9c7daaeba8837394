"""`tersor doctor`: how well this machine runs quantized files."""

from tersor.cli import options
from tersor.cli.output import one_line, say, show


def doctor(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Show the runtimes and instructions of this machine, and what they mean for quantized files.

    For example:

        tersor doctor

        tersor doctor --json
    """
    from tersor.export.sessions.machine import doctor as look
    from tersor.report.tables import pairs_table

    with one_line(debug):
        found = look()
    if as_json:
        show(found.as_dict())
        return
    show(pairs_table("This machine", found.rows()))
    for line in found.advice():
        say(line)
