"""The options of the commands: their names and their help texts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tersor.cli import parsers
from tersor.names import TARGETS, WAYS, BudgetRule, Storage

_BUDGET = "Budget: give one"


Model = Annotated[
    str,
    typer.Argument(
        help="An .onnx file, a .pt2 file from torch.export.save, or module:function, a function "
        "in your own code that returns a model or a pair (model, example)."
    ),
]
Example = Annotated[
    list[Any] | None,
    typer.Option(
        parser=parsers.shape,
        metavar="SHAPE",
        help="Shape of an input, such as 1,3,224,224, if the model has no example of its own. Give "
        "it once per input.",
    ),
]
Dynamic = Annotated[
    list[Any] | None,
    typer.Option(
        "--dynamic",
        parser=parsers.dynamic,
        metavar="INPUT:AXIS=NAME,…",
        help="Axes of an input that may have any size in the new file, with their names, such as "
        "image:0=batch,2=height,3=width. Axes count from 0. The batch is open in any case if it "
        "can be. For module:function; .onnx and .pt2 files say themselves which axes are open. "
        "Repeat it for more inputs.",
    ),
]
Dequantize = Annotated[
    bool,
    typer.Option("--dequantize", help="Convert a quantized .onnx file back to float first."),
]
EveryLayer = Annotated[
    bool,
    typer.Option(
        "--every-layer",
        help="Also quantize layers that are faster in floating point on CPUs. Without it they stay "
        "as they are, and the summary names them.",
    ),
]
Fix = Annotated[
    list[Any] | None,
    typer.Option(
        "--fix",
        metavar="INPUT=VALUE",
        parser=parsers.fixed,
        help="Give an input of an .onnx file a value, such as sr=16000; the new file has no such "
        "input. Repeat it for more inputs.",
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Also simulate the arithmetic of onnxruntime's own kernels, on at most the first 64 "
        "samples: is what differs from the simulation rounding, or a fault?",
    ),
]
CustomOps = Annotated[
    Path | None,
    typer.Option(
        "--custom-ops",
        metavar="LIBRARY",
        help="A library of custom ops for onnxruntime that an .onnx file needs. It is code that "
        "runs here.",
    ),
]
SchemeName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        autocompletion=lambda: list(TARGETS),
        help=f"Target runtime: {', '.join(TARGETS)}.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="The file to write: .onnx, .pte for ExecuTorch, which runs models on phones, or .pt2 "
        "for torch.compile.",
    ),
]
Largest = Annotated[
    list[Any] | None,
    typer.Option(
        "--largest",
        metavar="AXIS=SIZE",
        parser=parsers.largest,
        help="Leave an axis open in a .pte file, up to this size, such as batch=8. Other axes have "
        "the size of the example there, and the batch is 1. Repeat it for more axes.",
    ),
]
Weights = Annotated[int | None, typer.Option(metavar="BITS", help="Bits of the weights.")]
AverageBits = Annotated[
    float | None,
    typer.Option(
        metavar="BITS",
        help="With --data: choose 2, 3, 4 or 8 bits for each layer, such that the weights have "
        "this many bits on average and the outputs change least.",
    ),
]
Bits = Annotated[
    list[Any] | None,
    typer.Option(
        parser=parsers.width,
        metavar="PATTERN=BITS",
        help="Bits of the weights of some layers, such as 'head=8'. If several patterns match a "
        "layer, the last one counts.",
    ),
]
ActivationBits = Annotated[
    list[Any] | None,
    typer.Option(
        parser=parsers.width,
        metavar="PATTERN=BITS",
        help="Bits of the inputs of some layers, such as 'head=8'. If several patterns match a "
        "layer, the last one counts.",
    ),
]
Activations = Annotated[
    int | None,
    typer.Option(
        metavar="BITS",
        help="Bits of the activations. With fewer than 8, the first and last layers, additions and "
        "pooling keep 8; --activation-bits '*=4' and --bits '*=4' leave nothing out.",
    ),
]
InputRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH",
        help="Smallest and largest value of the inputs; pixels stands for 0 255, and imagenet for "
        "what its mean and standard deviation make of pixels. Only without --data, which measures "
        "them.",
    ),
]
Guess = Annotated[
    bool,
    typer.Option(
        "--guess",
        help="Guess the range of pictures. Without it, --input-range or --data is needed where the "
        "range cannot be known.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="A layer or sub-module that stays in float, such as 'head'. May be repeated.",
    ),
]
StorageName = Annotated[
    Storage,
    typer.Option(
        help="How weights of up to 4 bits are stored. int4 halves their size, but onnxruntime then "
        "computes their layers in float on CPUs."
    ),
]
Opset = Annotated[
    int | None,
    typer.Option(
        "--opset",
        metavar="VERSION",
        min=1,
        help="Version of the ONNX operator set. Default: that of the .onnx file that came in, or a "
        "later one if it must be; 21 for PyTorch models.",
    ),
]
InputNames = Annotated[
    Any,
    typer.Option(
        "--input-names",
        metavar="NAMES",
        parser=parsers.names,
        help="Names of the inputs in the new file, in order, separated by commas.",
    ),
]
OutputNames = Annotated[
    Any,
    typer.Option(
        "--output-names",
        metavar="NAMES",
        parser=parsers.names,
        help="Names of the outputs in the new file, in order, separated by commas.",
    ),
]
Verify = Annotated[bool, typer.Option(help="Compare the file with the float model.")]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="PATH",
        help="A report to write: an .html page, or .json for tersor compare.",
    ),
]

Macs = Annotated[
    float | None,
    typer.Option(
        help="Multiply-accumulates that may be left: a share such as 0.5, or a number.",
        rich_help_panel=_BUDGET,
    ),
]
Parameters = Annotated[
    float | None,
    typer.Option(
        help="Stored numbers that may be left: a share such as 0.5, or a number.",
        rich_help_panel=_BUDGET,
    ),
]
Megabytes = Annotated[
    float | None,
    typer.Option(help="Size of the weights in float, in megabytes.", rich_help_panel=_BUDGET),
]
LatencyShare = Annotated[
    float | None,
    typer.Option(
        "--latency",
        help="Share of the model's processor time in onnxruntime on this machine, such as 0.7.",
        rich_help_panel=_BUDGET,
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        autocompletion=lambda: list(WAYS),
        help=f"A method that may be used; give the option once per method. Choose from "
        f"{', '.join(WAYS)}. One of the last three may be given, which learn what to remove from "
        "what the others leave, and need --train. [default: depthwise, spatial and prune]",
    ),
]
Rule = Annotated[
    BudgetRule,
    typer.Option(
        help="How parts share the budget: least total loss, or an equal loss for every part."
    ),
]
Jobs = Annotated[int, typer.Option(help="Number of processes that try parts; -1 uses all cores.")]
Tried = Annotated[
    Path | None,
    typer.Option(
        "--work",
        metavar="FOLDER",
        help="Saves the parts that have been tried here, so that an interrupted run can resume.",
    ),
]
