"""The options of a training, for the commands that train: their names and their words."""

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli.options import SOURCE

_TRAINING = "Training"

TrainingData = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help=f"Samples to train with, unlabelled unless there is a loss: {SOURCE} Files and "
        "folders are shuffled; your own code makes and shuffles its own batches.",
    ),
]
TrainOn = Annotated[
    str | None,
    typer.Option(
        "--train",
        metavar="SOURCE",
        help=f"Samples to train what is left on, unlabelled unless there is a loss: {SOURCE}",
        rich_help_panel=_TRAINING,
    ),
]
LossName = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Called with outputs and labels, such as torch.nn.functional:cross_entropy. By "
        "default the network learns what the float network says, for which labels are not needed.",
        rich_help_panel=_TRAINING,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, help="How often the data are gone through. [default: 12]", rich_help_panel=_TRAINING
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Batches to take instead, for code that returns an iterator.",
        rich_help_panel=_TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch",
        min=1,
        help="Samples in a batch of files or images. [default: 64]",
        rich_help_panel=_TRAINING,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        help="Highest learning rate of the weights, as a share of their size. [default: 0.01, but "
        "0.001 for what was compressed]",
        rich_help_panel=_TRAINING,
    ),
]
TrainingSeed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="Of the order of the batches. [default: 0]", rich_help_panel=_TRAINING
    ),
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        "--work",
        metavar="FOLDER",
        help="Keeps checkpoints and the log, so that a run that was stopped goes on from there.",
        rich_help_panel=_TRAINING,
    ),
]
