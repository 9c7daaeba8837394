"""The options of the commands: their names and their help texts."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tersor.cli import parsers
from tersor.names import TARGETS, WAYS, BudgetRule, Storage

Solver = Literal["fast", "adaround", "blocks", "nearest"]
RangeName = Literal["minmax", "percentile", "mse", "entropy"]

SOURCE = (
    "an .npy file, an .npz file with one array per input and optionally one called labels, a "
    "folder of images (see --resize), or module:function, a function in your own code that returns "
    "batches. Files and batches hold inputs as the network takes them."
)
_IMAGES = "Folders of images"
_DATA = "With data"
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

Output = Annotated[Path, typer.Option("-o", "--output", help="The ONNX file to write.")]
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
Activations = Annotated[int | None, typer.Option(metavar="BITS", help="Bits of the activations.")]
InputRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH",
        help="Smallest and largest value of the inputs; only without --data, which measures them.",
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
        help="Samples to verify with, of the same kinds as --data. Labels give the accuracy. "
        "[default: the samples of --data]",
        rich_help_panel=_DATA,
    ),
]
VerifyData = Annotated[
    str | None, typer.Option("--data", metavar="SOURCE", help=f"Samples to compare on: {SOURCE}")
]
SolverName = Annotated[
    Solver | None,
    typer.Option(
        help="How weights are rounded. fast takes seconds, adaround is the paper's method, blocks "
        "is best for 2 and 3 bits, and nearest only corrects biases. [default: fast]",
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
        help="How activation ranges are chosen from the samples. [default: minmax]",
        rich_help_panel=_DATA,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1, help="Largest number of samples to read. [default: 1024]", rich_help_panel=_DATA
    ),
]
HeldBack = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of the samples that is held out to check the rounding. [default: 0.125]",
        rich_help_panel=_DATA,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of the random choices. [default: 0]", rich_help_panel=_DATA),
]
Work = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Saves finished layers here, so that an interrupted run can resume.",
        rich_help_panel=_DATA,
    ),
]

Resize = Annotated[
    int | None,
    typer.Option(
        min=1, help="Resize the short side to so many pixels, bilinearly.", rich_help_panel=_IMAGES
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Crop a square of so many pixels from the middle.",
        rich_help_panel=_IMAGES,
    ),
]
Mean = Annotated[
    Any,
    typer.Option(
        parser=parsers.colour,
        metavar="R,G,B",
        help="Subtracted from the pixels, which are first scaled to 0…1, as in torchvision. "
        "[default: none]",
        rich_help_panel=_IMAGES,
    ),
]
Std = Annotated[
    Any,
    typer.Option(
        parser=parsers.positive_colour,
        metavar="R,G,B",
        help="Divides the pixels after the mean is subtracted. [default: none]",
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
        help="Share of the model's time in onnxruntime on this machine, such as 0.7.",
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
        f"{', '.join(WAYS)}. The last three learn which channels to remove, and need --train. "
        "[default: spatial and prune]",
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
