"""The options of the commands, their names and their words."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tersor.cli import parsers
from tersor.names import TARGETS, WAYS, BudgetRule, Storage

Solver = Literal["fast", "adaround", "blocks", "nearest"]
RangeName = Literal["minmax", "percentile", "mse", "entropy"]

SOURCE = (
    "an .npy file, an .npz file with an array per input and, if you like, one called labels, a "
    "folder of images (see --resize), or module:function, a function of your own code that returns "
    "batches. Files and batches hold inputs as the network takes them."
)
_IMAGES = "Folders of images"
_DATA = "With data"
_BUDGET = "Budget, one of"


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
        parser=parsers.shape,
        metavar="SHAPE",
        help="Shape of an input, such as 1,3,224,224, if the model brings no example. Once per "
        "input.",
    ),
]
Dequantize = Annotated[
    bool, typer.Option("--dequantize", help="Make a quantized .onnx file float again first.")
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

Output = Annotated[Path, typer.Option("-o", "--output", help="The ONNX file to write.")]
Weights = Annotated[int | None, typer.Option(metavar="BITS", help="Bits of the weights.")]
AverageBits = Annotated[
    float | None,
    typer.Option(
        metavar="BITS",
        help="With --data: choose 2, 3, 4 or 8 bits for each layer, such that the weights have so "
        "many on average and the outputs suffer least.",
    ),
]
Bits = Annotated[
    list[Any] | None,
    typer.Option(
        parser=parsers.width,
        metavar="PATTERN=BITS",
        help="Bits of the weights of some layers, such as 'head=8'; of several patterns the last "
        "counts.",
    ),
]
Read = Annotated[
    list[Any] | None,
    typer.Option(
        parser=parsers.width,
        metavar="PATTERN=BITS",
        help="Bits of what some layers read, such as 'head=8'; of several patterns the last "
        "counts.",
    ),
]
Activations = Annotated[int | None, typer.Option(metavar="BITS", help="Bits of the activations.")]
InputRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH", help="Smallest and largest value of the inputs, where there is no data."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN", help="Layer or sub-module that stays in float, such as 'head'."
    ),
]
StorageName = Annotated[
    Storage,
    typer.Option(
        help="What holds weights of up to 4 bits: int4 halves their size, but onnxruntime then "
        "computes them in float on CPUs."
    ),
]
Verify = Annotated[bool, typer.Option(help="Compare the file with the float model.")]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="PATH", help="A report to write: one .html page, or .json to compare."
    ),
]

Data = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help=f"Unlabelled samples to quantize with: {SOURCE}",
        rich_help_panel=_DATA,
    ),
]
Test = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="Samples to verify with, of the same kinds; labels give an accuracy. By default those "
        "of --data.",
        rich_help_panel=_DATA,
    ),
]
VerifyData = Annotated[
    str | None, typer.Option("--data", metavar="SOURCE", help=f"Samples to compare on: {SOURCE}")
]
SolverName = Annotated[
    Solver | None,
    typer.Option(
        help="How weights are rounded: fast takes seconds, adaround is the paper's method, blocks "
        "is the best for 2 and 3 bits, nearest leaves it at correcting biases. [default: fast]",
        rich_help_panel=_DATA,
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Steps of adaround per layer (10,000 by default), or of blocks per block (1,000).",
        rich_help_panel=_DATA,
    ),
]
Ranges = Annotated[
    RangeName | None,
    typer.Option(
        help="How a range is chosen for what the samples bring about. [default: minmax]",
        rich_help_panel=_DATA,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1, help="Reads no more samples than this. [default: 1024]", rich_help_panel=_DATA
    ),
]
HeldBack = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of the samples that only checks the rounding. [default: 0.125]",
        rich_help_panel=_DATA,
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="Of the random choices. [default: 0]", rich_help_panel=_DATA)
]
Work = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Keeps layers that are finished, so that a run that was stopped goes on from there.",
        rich_help_panel=_DATA,
    ),
]

Resize = Annotated[
    int | None,
    typer.Option(min=1, help="Pixels of the short side, bilinear.", rich_help_panel=_IMAGES),
]
Crop = Annotated[
    int | None,
    typer.Option(min=1, help="Side of the square in the middle.", rich_help_panel=_IMAGES),
]
Mean = Annotated[
    Any,
    typer.Option(
        parser=parsers.colour,
        metavar="R,G,B",
        help="Subtracted from the pixels, which are scaled to 0…1 first, as torchvision does. "
        "[default: none]",
        rich_help_panel=_IMAGES,
    ),
]
Std = Annotated[
    Any,
    typer.Option(
        parser=parsers.positive_colour,
        metavar="R,G,B",
        help="The pixels are divided by it then. [default: none]",
        rich_help_panel=_IMAGES,
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
    float | None, typer.Option(help="Stored numbers, likewise.", rich_help_panel=_BUDGET)
]
Megabytes = Annotated[
    float | None, typer.Option(help="Size of the weights in float.", rich_help_panel=_BUDGET)
]
LatencyShare = Annotated[
    float | None,
    typer.Option(
        "--latency",
        help="Share of the time that it takes in onnxruntime on this machine.",
        rich_help_panel=_BUDGET,
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        autocompletion=lambda: list(WAYS),
        help=f"What may be done, once for each: {', '.join(WAYS)}. "
        "The last three learn which channels go, and need --train. [default: spatial and prune]",
    ),
]
Rule = Annotated[
    BudgetRule, typer.Option(help="Least loss of all parts together, or an equal loss for each.")
]
Jobs = Annotated[int, typer.Option(help="Processes that try parts; -1 for as many as cores.")]
Tried = Annotated[
    Path | None,
    typer.Option(
        "--work",
        metavar="FOLDER",
        help="Keeps the parts that have been tried, so that a run that was stopped goes on.",
    ),
]
