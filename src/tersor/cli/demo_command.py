"""`tersor demo`: quantize a pretrained network."""

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import options
from tersor.cli.output import one_line


def demo(
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the ONNX file.")
    ] = Path(),
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Quantize a pretrained EfficientNet-Lite0 without data, and compare it on photographs.

    For example:

        tersor demo

        tersor demo -o files/ --json
    """
    from tersor.api.demo import demo as make_demo
    from tersor.api.steps import STEPS
    from tersor.cli.proving import Proved
    from tersor.cli.results import show_quantized
    from tersor.export.proof.verify import STEPS as VERIFY_STEPS
    from tersor.report.progress import progress

    with one_line(debug), progress(len(STEPS) + 2 + len(VERIFY_STEPS)) as bar:
        made = make_demo(folder, bar.step, bar.track)
    where = "on crops of photographs"
    proved = Proved(made.written, made.verification)
    show_quantized(made.quantized, proved, where, as_json, ("MODEL", None))
    proved.conclude("MODEL", None, as_json)
