"""`tersor demo`: a pretrained network is quantized in front of your eyes."""

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import options
from tersor.cli.output import one_line


def demo(
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="The folder that the ONNX file goes to.")
    ] = Path(),
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Quantize a pretrained EfficientNet-Lite0 without data, and compare it on photographs.

    For example:

        tersor demo

        tersor demo -o files/ --json
    """
    from tersor.api import demo as demonstration
    from tersor.api import quantize as recipes
    from tersor.cli.results import show_quantized
    from tersor.export.verify import STEPS as VERIFY_STEPS
    from tersor.report.progress import progress

    with one_line(debug), progress(len(recipes.STEPS) + 2 + len(VERIFY_STEPS)) as bar:
        made = demonstration.demo(folder, bar.step, bar.track)
    where = "on crops of photographs"
    show_quantized(made.quantized, made.written, made.verification, where, as_json)
