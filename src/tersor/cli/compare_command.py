"""`tersor compare`: two reports side by side."""

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import options
from tersor.cli.output import one_line, say, show


def compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A report, .json.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another report, .json.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page to write, .html.")
    ] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare two reports of one model: size, speed, accuracy, and the layers that differ most.

    For example:

        tersor quantize model.onnx -o model.int8.onnx --report int8.json

        tersor quantize model.onnx -o model.int4.onnx --weights 4 --report int4.json

        tersor compare int8.json int4.json -o compare.html
    """
    from tersor.files import check_writable
    from tersor.report.differences import compare as compare_reports

    with one_line(debug):
        found = compare_reports(first, second)
        if output is not None:
            check_writable(output)
            found.save(output)
    show(found.as_dict() if as_json else found)
    if output is not None and not as_json:
        say(f"Wrote {output}.")
