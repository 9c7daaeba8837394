"""`tersor diagnose`: what is wrong with a model after quantization, and what to do."""

from typing import Annotated

import typer

from tersor.cli import data_options, options
from tersor.cli.output import one_line, say, show

EveryEdge = Annotated[
    bool, typer.Option("--every-edge", help="Try each quantizer alone even if nothing is wrong.")
]
Tolerance = Annotated[
    float, typer.Option(help="Largest acceptable noise over signal of the outputs; 0.03 is 15 dB.")
]
Most = Annotated[int, typer.Option(min=1, help="Number of samples to judge on.")]


def diagnose(
    model: options.Model,
    data: data_options.Data = None,
    test: data_options.Test = None,
    scheme: options.SchemeName = "onnxruntime-cpu",
    weights: options.Weights = None,
    bits: options.Bits = None,
    activations: options.Activations = None,
    activation_bits: options.ActivationBits = None,
    input_range: options.InputRange = None,
    exclude: options.Exclude = None,
    example: options.Example = None,
    dequantize: options.Dequantize = False,
    dynamic: options.Dynamic = None,
    fix: options.Fix = None,
    custom_ops: options.CustomOps = None,
    rounding: data_options.SolverName = None,
    ranges: data_options.Ranges = None,
    no_smooth: data_options.NoSmooth = None,
    tolerance: Tolerance = 0.03,
    most: Most = 64,
    every_edge: EveryEdge = False,
    resize: data_options.Resize = None,
    crop: data_options.Crop = None,
    mean: data_options.Mean = None,
    std: data_options.Std = None,
    tokenizer: data_options.Tokenizer = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Find out what is wrong with a model after quantization, why, and what to do about it.

    Give it the same options as `tersor quantize`. No file is written.

    For example:

        tersor diagnose model.onnx --data inputs.npy

        tersor diagnose model.pt2 --data photographs/ --resize 32 --weights 4 --every-edge

        tersor diagnose model.onnx --test inputs.npy --json
    """
    from tersor.api.diagnose import STEPS
    from tersor.api.diagnose import diagnose as diagnose_model
    from tersor.cli import choices
    from tersor.cli.widths import with_widths
    from tersor.quant.schemes import find_scheme
    from tersor.report.progress import progress

    asked = {"rounding": rounding, "ranges": ranges, "iterations": None, "samples": None}
    asked |= {"held_back": None, "seed": None, "no_smooth": no_smooth}
    with one_line(debug), progress(len(STEPS) + 1) as bar:
        level = choices.with_data(data is not None, input_range is not None, asked)
        seen, tested = choices.sources((data, test), resize, crop, mean, std, tokenizer)
        bar.step("load the model")
        captured = choices.captured(
            model, example, seen, dequantize, input_range, fix, custom_ops, dynamic
        )
        found = diagnose_model(
            captured,
            data=choices.fit(captured, seen.first(level.samples) if seen and level else None),
            test=choices.fit(captured, tested),
            original=model if model.endswith(".onnx") and not dequantize else None,
            **with_widths(find_scheme(scheme), weights, bits, activations, activation_bits),
            input_range=input_range,
            exclude=exclude or (),
            options=level,
            tolerance=tolerance,
            most=most,
            every_edge=every_edge,
            on_step=bar.step,
            on_layer=bar.layer,
        )
    given = [model, "-o", "quantized.onnx", *(["--data", data] if data else [])]
    command = found.command(*given)
    if as_json:
        show({**found.as_dict(), "command": command})
        return
    show(found)
    if command:
        say(f"Try it:\n  {command}")
