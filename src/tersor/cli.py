"""The command line: every command calls the public functions and shows what they return."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from tersor import checks, recipes
from tersor import demo as demonstration
from tersor.errors import TersorError
from tersor.export.inputs import load_inputs
from tersor.export.onnx import ExportResult
from tersor.export.storage import Storage
from tersor.export.verification import Verification
from tersor.export.verify import STEPS as VERIFY_STEPS
from tersor.graph.capture import capture
from tersor.graph.feeds import network_feed
from tersor.graph.files import check_writable
from tersor.graph.load import input_types, load
from tersor.graph.onnx.model import OnnxModel
from tersor.quant.schemes import SCHEMES
from tersor.quant.synthetic import random_example
from tersor.quantized import Quantized
from tersor.report.progress import progress
from tersor.report.tables import pairs_table

_WIDTH = 120  # columns of tables in a file or a pipe; terminals have their own, within reason
_LEAST_WIDTH = 110
_SCHEMES = "\n\n".join(f"{scheme.name}: {scheme.summary}." for scheme in SCHEMES.values())

app = typer.Typer(
    help="Data-free int8 quantization of PyTorch models to verified ONNX files.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _shape(text: str) -> tuple[int, ...]:
    """`1,3,224,224` as numbers."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise typer.BadParameter(f"{text!r} is no shape; write it as 1,3,224,224")
    return shape


Model = Annotated[
    str,
    typer.Argument(
        help="An .onnx file, a .pt2 file from torch.export.save, or module:function, a function "
        "of your own code that returns a model or a pair (model, example)."
    ),
]
Example = Annotated[
    list[Any] | None,
    typer.Option(
        parser=_shape,
        metavar="SHAPE",
        help="Shape of an input, such as 1,3,224,224, if the model brings no example. Once per "
        "input.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Preprocessed inputs to compare on: an .npy file, or an .npz file with an array per "
        "input and, if you like, one called labels.",
    ),
]
Dequantize = Annotated[
    bool, typer.Option("--dequantize", help="Make a quantized .onnx file float again first.")
]
SchemeName = Annotated[
    str, typer.Option(metavar="NAME", help=f"Target runtime: {', '.join(SCHEMES)}.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"tersor {version('tersor')}")
        raise typer.Exit
    return wanted


@app.callback()
def _main(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Data-free int8 quantization of PyTorch models to verified ONNX files."""


@app.command(epilog=_SCHEMES)
def quantize(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The ONNX file to write.")],
    scheme: SchemeName = "onnxruntime-cpu",
    weights: Annotated[int | None, typer.Option(help="Bits of the weights.")] = None,
    activations: Annotated[int | None, typer.Option(help="Bits of the activations.")] = None,
    input_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Smallest and largest value of the inputs."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Layer or sub-module that stays in float, such as 'head'."
        ),
    ] = None,
    example: Example = None,
    dequantize: Dequantize = False,
    data: Data = None,
    storage: Annotated[
        Storage,
        typer.Option(
            help="What holds weights of up to 4 bits: int4 halves their size, but onnxruntime then "
            "computes them in float on CPUs."
        ),
    ] = "int8",
    verify: Annotated[bool, typer.Option(help="Compare the file with the float model.")] = True,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Quantize a model without data, write the ONNX file, and compare it with the model.

    For example:

        tersor quantize model.onnx -o model.int8.onnx

        tersor quantize mycode:make_model -o model.int8.onnx --example 1,3,224,224

        tersor quantize model.pt2 -o model.int8.onnx --data images.npz --input-range -1 1
    """
    with _one_line(debug), progress(len(recipes.STEPS) + 2 + len(VERIFY_STEPS)) as bar:
        check_writable(output)
        inputs = load_inputs(data) if data else None
        bar.step("load the model")
        network, own = load(model, dequantize=dequantize)
        given = _example(network, example, input_range) or own
        captured = capture(network, given)
        if inputs:
            network_feed(captured, inputs.batches[0])
        quantized = recipes.quantize(
            captured,
            scheme=scheme,
            weights=weights,
            activations=activations,
            input_range=input_range,
            exclude=exclude or (),
            on_step=bar.step,
        )
        bar.step("write the file")
        written = quantized.export(output, storage=storage)
        checked = None
        if verify:
            batches = bar.track(inputs.batches) if inputs else None
            labels = inputs.labels if inputs else None
            checked = quantized.verify(output, batches, labels=labels, on_step=bar.step)
    where = f"on {data}" if data else "on the example inputs; give --data for a real test"
    _show_quantized(quantized, written, checked, where, as_json)


@app.command()
def inspect(
    model: Model,
    scheme: SchemeName = "onnxruntime-cpu",
    example: Example = None,
    dequantize: Dequantize = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the layers of a model, and what each pass can and cannot do with it, and why.

    Weight ranges and imbalance (largest over smallest range of an output channel) are those after
    BatchNorm is folded; `equalized` is the imbalance that is left after equalization.

    For example:

        tersor inspect model.pt2

        tersor inspect mycode:make_model --example 1,3,224,224 --json
    """
    with _one_line(debug), progress(len(recipes.STEPS) + 1) as bar:
        bar.step("load the model")
        network, own = load(model, dequantize=dequantize)
        given = _example(network, example) or own
        inspection = checks.inspect(network, given, scheme=scheme, on_step=bar.step)
    _show(inspection.as_dict() if as_json else inspection)


@app.command()
def verify(
    reference: Annotated[
        str, typer.Argument(metavar="FLOAT", help="The float model: .onnx, .pt2, module:function.")
    ],
    quantized: Annotated[Path, typer.Argument(metavar="QUANTIZED", help="The quantized .onnx.")],
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare a quantized ONNX file with its float model, both in its runtime.

    For example:

        tersor verify model.onnx model.int8.onnx --data images.npz

        tersor verify model.pt2 model.int8.onnx
    """
    with _one_line(debug), progress(len(VERIFY_STEPS)) as bar:
        inputs = load_inputs(data) if data else None
        batches = bar.track(inputs.batches) if inputs else None
        labels = inputs.labels if inputs else None
        checked = checks.verify(reference, quantized, batches, labels=labels, on_step=bar.step)
    where = f"on {data}" if data else "on noise; give --data for a real test"
    _show(checked.as_dict() if as_json else pairs_table(f"Verified {where}", checked.rows()))


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="The folder that the ONNX file goes to.")
    ] = Path(),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Quantize a pretrained EfficientNet-Lite0 without data, and compare it on photographs."""
    with _one_line(debug), progress(len(recipes.STEPS) + 2 + len(VERIFY_STEPS)) as bar:
        made = demonstration.demo(folder, bar.step, bar.track)
    where = "on crops of photographs"
    _show_quantized(made.quantized, made.written, made.verification, where, as_json)


def _example(
    model: Any, shapes: list[Any] | None, input_range: tuple[float, float] | None = None
) -> tuple[Any, ...] | None:
    """Random inputs of the shapes that the user gave, or else of those in an ONNX file."""
    if shapes:
        return random_example(shapes, input_range, types=input_types(model))
    return model.example(input_range) if isinstance(model, OnnxModel) else None


def _show_quantized(
    quantized: Quantized,
    written: ExportResult,
    checked: Verification | None,
    where: str,
    as_json: bool,
) -> None:
    summary = quantized.summary()
    if as_json:
        verification = checked.as_dict() if checked else None
        _show({**written.as_dict(), **summary.as_dict(), "verification": verification})
        return
    _show(summary)
    if checked:
        _show(pairs_table(f"Verified {where}", checked.rows()))
    for line in (*written.weights, *written.notes):
        typer.echo(f"{line}.")
    typer.echo(f"Wrote {written.path} for {quantized.scheme.name}.")


def _show(result: RenderableType | dict[str, Any]) -> None:
    """A table for people, or JSON for scripts."""
    if isinstance(result, dict):
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    console = Console()
    console.width = max(console.width, _LEAST_WIDTH) if console.is_terminal else _WIDTH
    console.print(result)


@contextmanager
def _one_line(debug: bool) -> Iterator[None]:
    """Turn an error into one line on standard error and an exit code."""
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            yield
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        message, code = _explain(error)
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(code) from error


def _explain(error: BaseException) -> tuple[str, int]:
    text = " ".join(str(error).split())
    if isinstance(error, TersorError):
        return text, 1
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    return f"internal error, {type(error).__name__}: {text}; run with --debug", 2


def main() -> None:
    """The console script `tersor`."""
    app()
