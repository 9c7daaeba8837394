"""Bounds that a file has to keep, for scripts."""

from dataclasses import asdict, dataclass

from tersor.errors import InvalidInputError
from tersor.export.proof.verification import Verification


@dataclass(frozen=True)
class Limits:
    """What a file has to reach; None for anything that does not matter.

    Attributes:
        min_sqnr: Least SQNR of the file against the float model, in dB, for every part of every
            output.
        min_agreement: Least share of samples with the class of the float model.
        max_drop: Most accuracy that may be lost, as a share: 0.01 is one point.
        max_size: Largest size, as a share of that of the float file.
        max_latency: Longest time, as a share of that of the float file.
        max_metric: Largest value of the user's own metric.
    """

    min_sqnr: float | None = None
    min_agreement: float | None = None
    max_drop: float | None = None
    max_size: float | None = None
    max_latency: float | None = None
    max_metric: float | None = None

    @property
    def given(self) -> list[str]:
        """The options that were given, as the command line spells them."""
        return [f"--{name.replace('_', '-')}" for name, x in asdict(self).items() if x is not None]

    def failures(self, proof: Verification) -> list[str]:
        """Say which bounds a file does not keep, in one sentence each.

        Args:
            proof: The measurements of the file.

        Raises:
            InvalidInputError: A bound is about something that was not measured.
        """
        size, time = proof.size_ratio, proof.latency and proof.latency.ratio
        said = (
            _noise(self.min_sqnr, proof),
            _agreement(self.min_agreement, proof),
            _drop(self.max_drop, proof),
            _above("--max-size", "times the size of the float file", size, self.max_size),
            _above("--max-latency", "times the time of the float file", time, self.max_latency),
            _above("--max-metric", "by the metric", proof.metric, self.max_metric),
        )
        return [sentence for sentence in said if sentence]


def _noise(least: float | None, proof: Verification) -> str:
    figures = [figure for outputs in proof.quantized.values() for figure in outputs.parts]
    worst = min(figures, key=lambda figure: figure.sqnr)
    if least is None or worst.sqnr >= least:
        return ""
    return (
        f"{worst.part.name} has {worst.sqnr:.1f} dB against the float model, and --min-sqnr asks "
        f"for {least:g} dB"
    )


def _agreement(least: float | None, proof: Verification) -> str:
    if least is None:
        return ""
    shares = [outputs.top1 for outputs in proof.quantized.values() if outputs.top1 is not None]
    if not shares:
        raise InvalidInputError(
            "--min-agreement needs an output that holds classes, and none was found; give "
            "--min-sqnr instead"
        )
    if min(shares) >= least:
        return ""
    return (
        f"{min(shares):.2%} of the classes agree with the float model, and --min-agreement asks "
        f"for {least:.2%}"
    )


def _drop(most: float | None, proof: Verification) -> str:
    if most is None:
        return ""
    if not proof.accuracy:
        raise InvalidInputError(
            "--max-drop needs labels, and the samples have none; give an .npz file with an array "
            "called labels"
        )
    drop = round(proof.accuracy["float"] - proof.accuracy["runtime"], 9)
    if drop <= most:
        return ""
    return f"accuracy drops by {100 * drop:.2f} points, and --max-drop allows {100 * most:.2f}"


def _above(option: str, what: str, value: float | None, most: float | None) -> str:
    if value is None or most is None or value <= most:
        return ""
    return f"the file has {value:.3g} {what}, and {option} allows {most:g}"
