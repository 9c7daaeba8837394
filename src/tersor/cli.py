"""The command line: every command calls the public functions and shows what they return."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

from tersor import checks, mixed, recipes
from tersor import cli_choices as choices
from tersor import cli_options as options
from tersor import demo as demonstration
from tersor.cli_output import one_line, show, show_quantized
from tersor.export.sources import Source
from tersor.export.verify import STEPS as VERIFY_STEPS
from tersor.graph.capture import capture
from tersor.graph.files import check_writable
from tersor.graph.load import input_types, load
from tersor.graph.onnx.model import OnnxModel
from tersor.quant.schemes import SCHEMES
from tersor.quant.synthetic import random_example
from tersor.report.progress import Bar, progress
from tersor.report.tables import pairs_table

_SCHEMES = "\n\n".join(f"{scheme.name}: {scheme.summary}." for scheme in SCHEMES.values())

app = typer.Typer(
    help="Quantize PyTorch and ONNX models without data or with a little, to verified ONNX files.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


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
    """Quantize PyTorch and ONNX models without data or with a little, to verified ONNX files."""


@app.command(epilog=_SCHEMES)
def quantize(
    model: options.Model,
    output: options.Output,
    scheme: options.SchemeName = "onnxruntime-cpu",
    weights: options.Weights = None,
    bits: options.Bits = None,
    average_bits: options.AverageBits = None,
    activations: options.Activations = None,
    input_range: options.InputRange = None,
    exclude: options.Exclude = None,
    example: options.Example = None,
    dequantize: options.Dequantize = False,
    storage: options.StorageName = "int8",
    data: options.Data = None,
    test: options.Test = None,
    rounding: options.SolverName = None,
    iterations: options.Iterations = None,
    ranges: options.Ranges = None,
    samples: options.Samples = None,
    held_back: options.HeldBack = None,
    seed: options.Seed = None,
    work: options.Work = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    mean: options.Mean = None,
    std: options.Std = None,
    verify: options.Verify = True,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Quantize a model without data or with a little, write the ONNX file, and verify it.

    For example:

        tersor quantize model.onnx -o model.int8.onnx

        tersor quantize mycode:make_model -o model.int8.onnx --example 1,3,224,224

        tersor quantize model.pt2 -o model.int4.onnx --weights 4 --data photographs/ --resize 256
        --crop 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
    """
    asked = {"rounding": rounding, "iterations": iterations, "ranges": ranges, "samples": samples}
    asked |= {"held_back": held_back, "seed": seed, "work": work, "average_bits": average_bits}
    steps = recipes.STEPS_WITH_DATA if data else recipes.STEPS
    steps += mixed.STEPS if average_bits else ()
    with one_line(debug), progress(len(steps) + 2 + len(VERIFY_STEPS)) as bar:
        check_writable(output)
        widths = choices.widths(weights, bits, average_bits)
        level = choices.with_data(data is not None, input_range is not None, asked)
        seen, tested = choices.sources((data, test), resize, crop, mean, std)
        seen = seen.first(level.samples) if seen and level else None
        bar.step("load the model")
        network, own = load(model, dequantize=dequantize)
        given = _example(network, example, input_range) or own
        if given is None and seen and isinstance(network, nn.Module):
            given = choices.first_example(seen)
        captured = capture(network, given)
        seen = choices.fit(captured, seen)
        tested = choices.fit(captured, tested) or seen
        if average_bits is not None:
            widths = mixed.search_bits(
                captured,
                data=seen,
                average=average_bits,
                scheme=scheme,
                exclude=exclude or (),
                options=level,
                on_step=bar.step,
                on_layer=bar.layer,
            )
            widths |= dict(bits or ())
        quantized = recipes.quantize(
            captured,
            data=seen,
            scheme=scheme,
            weights=widths,
            activations=activations,
            input_range=input_range,
            exclude=exclude or (),
            options=level,
            folder=work,
            on_step=bar.step,
            on_layer=bar.layer,
        )
        bar.step("write the file")
        written = quantized.export(output, storage=storage)
        checked = None
        if verify:
            batches, labels = _read(tested, bar)
            checked = quantized.verify(output, batches, labels=labels, on_step=bar.step)
    show_quantized(quantized, written, checked, _where(data, test), as_json)


@app.command()
def inspect(
    model: options.Model,
    scheme: options.SchemeName = "onnxruntime-cpu",
    example: options.Example = None,
    dequantize: options.Dequantize = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the layers of a model, and what each pass can and cannot do with it, and why.

    Weight ranges and imbalance (largest over smallest range of an output channel) are those after
    BatchNorm is folded; `equalized` is the imbalance that is left after equalization.

    For example:

        tersor inspect model.pt2

        tersor inspect mycode:make_model --example 1,3,224,224 --json
    """
    with one_line(debug), progress(len(recipes.STEPS) + 1) as bar:
        bar.step("load the model")
        network, own = load(model, dequantize=dequantize)
        given = _example(network, example) or own
        inspection = checks.inspect(network, given, scheme=scheme, on_step=bar.step)
    show(inspection.as_dict() if as_json else inspection)


@app.command()
def verify(
    reference: Annotated[
        str, typer.Argument(metavar="FLOAT", help="The float model: .onnx, .pt2, module:function.")
    ],
    quantized: Annotated[Path, typer.Argument(metavar="QUANTIZED", help="The quantized .onnx.")],
    data: options.VerifyData = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    mean: options.Mean = None,
    std: options.Std = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare a quantized ONNX file with its float model, both in its runtime.

    For example:

        tersor verify model.onnx model.int8.onnx --data images.npz

        tersor verify model.pt2 model.int8.onnx
    """
    with one_line(debug), progress(len(VERIFY_STEPS)) as bar:
        (source,) = choices.sources((data,), resize, crop, mean, std)
        batches, labels = _read(source, bar)
        checked = checks.verify(reference, quantized, batches, labels=labels, on_step=bar.step)
    where = f"on {data}" if data else "on noise; give --data for a real test"
    show(checked.as_dict() if as_json else pairs_table(f"Verified {where}", checked.rows()))


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="The folder that the ONNX file goes to.")
    ] = Path(),
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Quantize a pretrained EfficientNet-Lite0 without data, and compare it on photographs."""
    with one_line(debug), progress(len(recipes.STEPS) + 2 + len(VERIFY_STEPS)) as bar:
        made = demonstration.demo(folder, bar.step, bar.track)
    where = "on crops of photographs"
    show_quantized(made.quantized, made.written, made.verification, where, as_json)


def _read(source: Source | None, bar: Bar) -> tuple[Any, Any]:
    """Batches that a bar counts, and their labels."""
    return (None, None) if source is None else (bar.track(source), source.labels)


def _where(data: str | None, test: str | None) -> str:
    """What a quantized model was verified on."""
    if test is None and data is not None:
        return f"on the samples it was quantized with, {data}; give --test for a real test"
    return f"on {test}" if test else "on the example inputs; give --test for a real test"


def _example(
    model: Any, shapes: list[Any] | None, input_range: tuple[float, float] | None = None
) -> tuple[Any, ...] | None:
    """Random inputs of the shapes that the user gave, or else of those in an ONNX file."""
    if shapes:
        return random_example(shapes, input_range, types=input_types(model))
    return model.example(input_range) if isinstance(model, OnnxModel) else None


def main() -> None:
    """The console script `tersor`."""
    app()
