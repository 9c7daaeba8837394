"""The options of training, for the commands that train: their names and their help texts."""

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli.data_options import SOURCE

_TRAINING = "Training"

TrainingData = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help=f"Samples to train with; labels are needed only with --loss: {SOURCE} Files and "
        "folders are shuffled. Your own code makes and shuffles its own batches.",
    ),
]
TrainOn = Annotated[
    str | None,
    typer.Option(
        "--train",
        metavar="SOURCE",
        help=f"Samples to train the compressed network with; labels are needed only with --loss: "
        f"{SOURCE}",
        rich_help_panel=_TRAINING,
    ),
]
LossName = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="A function of outputs and labels, such as torch.nn.functional:cross_entropy. By "
        "default the network learns from the float network, and needs no labels.",
        rich_help_panel=_TRAINING,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Passes through the samples. [default: 12]", rich_help_panel=_TRAINING
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of batches, instead of --epochs, for code that returns an iterator.",
        rich_help_panel=_TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch",
        min=1,
        help="Samples per batch, for files and folders. [default: 64]",
        rich_help_panel=_TRAINING,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        help="Peak learning rate of the weights, relative to their size. [default: 0.01; for a "
        "compressed network 0.001 to 0.01, depending on its error]",
        rich_help_panel=_TRAINING,
    ),
]
TrainingSeed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of the batch order. [default: 0]", rich_help_panel=_TRAINING),
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        "--work",
        metavar="FOLDER",
        help="Saves checkpoints and the log here, so that an interrupted run can resume.",
        rich_help_panel=_TRAINING,
    ),
]
