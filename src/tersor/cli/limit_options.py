"""The options of the commands that bound what a file may lose."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tersor.data.given.sources import Source
    from tersor.export.proof.limits import Limits

_LIMITS = "Limits for scripts: exit code 3 if one is not kept"

MinSqnr = Annotated[
    float | None,
    typer.Option(
        "--min-sqnr",
        metavar="DB",
        help="Least SQNR against the float model, for every part of every output.",
        rich_help_panel=_LIMITS,
    ),
]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        "--min-agreement",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="Least share of samples with the class of the float model, such as 0.98.",
        rich_help_panel=_LIMITS,
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        metavar="SHARE",
        max=1.0,
        help="Most accuracy that may be lost, such as 0.01 for one point. Needs labels.",
        rich_help_panel=_LIMITS,
    ),
]
MaxSize = Annotated[
    float | None,
    typer.Option(
        "--max-size",
        metavar="SHARE",
        min=0.0,
        help="Largest size, as a share of the float file's, such as 0.3.",
        rich_help_panel=_LIMITS,
    ),
]
MaxLatency = Annotated[
    float | None,
    typer.Option(
        "--max-latency",
        metavar="SHARE",
        min=0.0,
        help="Longest time, as a share of the float file's, such as 0.8.",
        rich_help_panel=_LIMITS,
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="MODULE:FUNCTION",
        help="Your own metric, metric(outputs, reference) of tensors; higher is worse.",
        rich_help_panel=_LIMITS,
    ),
]
MaxMetric = Annotated[
    float | None,
    typer.Option(
        "--max-metric",
        metavar="VALUE",
        help="Largest value of --metric that is good.",
        rich_help_panel=_LIMITS,
    ),
]
KeepAnyway = Annotated[
    bool,
    typer.Option(
        "--keep-anyway",
        help="Write the file even if a limit is not kept.",
        rich_help_panel=_LIMITS,
    ),
]


def check_limits(limits: "Limits", metric: str | None, verify: bool, keep: bool) -> None:
    """Refuse limits that have no effect.

    Args:
        limits: The limits that were given.
        metric: The user's own metric, if any.
        verify: Whether the file is verified.
        keep: The option `--keep-anyway`.

    Raises:
        InvalidInputError: An option has no effect; the message names it.
    """
    from tersor.errors import InvalidInputError

    given = [*(["--metric"] if metric else []), *limits.given]
    if given and not verify:
        raise InvalidInputError(f"{given[0]} has no effect with --no-verify; drop one of the two")
    if limits.max_metric is not None and metric is None:
        raise InvalidInputError("--max-metric has no effect without --metric; give --metric, too")
    if keep and not limits.given:
        raise InvalidInputError(
            "--keep-anyway has no effect without a limit; give one, such as --min-sqnr 20"
        )


def check_labels(limits: "Limits", source: "Source | None") -> None:
    """Refuse a limit on the accuracy before the work, if it is clear that labels are no use.

    Args:
        limits: The limits that were given.
        source: The samples to verify with, if any; batches of the user's code may have labels.

    Raises:
        InvalidInputError: There are no labels, or they are no classes of the samples.
    """
    from tersor.data.given.sources import GeneratedSamples
    from tersor.errors import InvalidInputError

    if limits.max_drop is None or isinstance(source, GeneratedSamples):
        return
    if source is None or source.labels is None:
        raise InvalidInputError(
            "--max-drop needs labels, and there are none; give an .npz file with an array called "
            "labels"
        )
    source.check_labels()
