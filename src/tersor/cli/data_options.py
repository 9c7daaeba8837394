"""The options of the commands that are about samples: where they are, and how they are used."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tersor.cli import parsers

Solver = Literal["fast", "adaround", "blocks", "nearest"]
RangeName = Literal["minmax", "percentile", "mse", "entropy"]

SOURCE = (
    "an .npy file, an .npz or .pt file with one array per input and optionally one called labels, "
    "a .csv file of numbers, a .txt file with a text per line (see --tokenizer), a folder of "
    "images, or of folders named after classes (see --resize), or module:function, a function in "
    "your own code that returns batches. Files and batches hold inputs as the network takes them."
)
_IMAGES = "Folders of images"
_DATA = "With data"


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
Tolerance = Annotated[
    Any,
    typer.Option(
        "--tolerance",
        metavar="DB",
        parser=parsers.tolerance,
        help="Least signal-to-noise ratio in dB of each part of each output, on a quarter of the "
        "samples, which is held back. As few layers as possible stay in float until it holds in "
        "the runtime; the summary names them, with their price. auto, the default: only where the "
        "verdict would be bad, scores not good, or single scores have less than 30 dB, and not "
        "slower than float; off: never.",
        rich_help_panel=_DATA,
    ),
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
        help="How activation ranges are chosen from the samples. [default: minmax or mse]",
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
NoSmooth = Annotated[
    bool | None,
    typer.Option(
        "--no-smooth",
        help="Leave outliers of activations where they are. Without it they move into the weights "
        "of linear layers where that makes these more accurate (SmoothQuant).",
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

Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="What the process may hold while it works with data, such as 800MB or 2GB. What "
        "finds no room goes to files. [default: half of what is free]",
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
Tokenizer = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="The tokenizer.json of the model, for a .txt file of texts.",
        rich_help_panel=_DATA,
    ),
]
