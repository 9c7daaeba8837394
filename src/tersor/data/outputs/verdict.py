"""The verdict on what a change did to a network: good, look or bad.

A pure function of figures. Every threshold is written here, once. They were chosen on files whose
quality is known from labels, detections, texts and similarities; `benchmarks.verdicts` measures it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersor.data.outputs.figures import Figure

Grade = Literal["good", "look", "bad"]
#: What to do next: nothing, verify on real samples, look for what is wrong, give more budget or
#: train, run the float file.
Remedy = Literal["none", "test", "diagnose", "train", "float"]
GRADES: tuple[Grade, ...] = ("good", "look", "bad")  # the best first

#: What a part needs to be good, and what it needs not to be bad, by what it is.
_SHARES = {"classes": (0.95, 0.80), "embeddings": (0.98, 0.85), "integers": (0.95, 0.80)}
_DECIBELS = {
    "classes": (8.0, 3.0),
    "embeddings": (8.0, 3.0),
    "integers": (-200.0, -200.0),
    "scores": (20.0, 6.0),
    "values": (20.0, 10.0),
}
_SINGLE = 30.0  # dB that scores which decide alone should have; with 24, 1.6 % of decisions changed
_MORE = 3.0  # dB that a part lacks at least if it is not good
_DROP = (0.01, 0.05)  # of the accuracy, where there are labels

_COMMANDS: dict[Remedy, str] = {
    "none": "",
    "test": "tersor verify {model} {file} --data {data}",
    "diagnose": "tersor diagnose {model} --data {data}",
    "train": "tersor compress {model} -o {file} with a larger budget, or with --train {data}",
    "float": "run {model}",
}


@dataclass(frozen=True)
class Verdict:
    """Whether a file can be used; print it.

    Attributes:
        grade: `"good"`, `"look"` or `"bad"`.
        reason: The figure behind it, in words.
        remedy: What to do next.
    """

    grade: Grade
    reason: str
    remedy: Remedy = "none"

    def next(self, model: str = "MODEL", file: str = "FILE", data: str = "SOURCE") -> str:
        """The next command; empty if there is nothing to do.

        Args:
            model: The float model, as a command names it.
            file: The file that was judged.
            data: Real samples.
        """
        names = {"model": model, "file": file, "data": data}
        return _COMMANDS[self.remedy].format(**{k: shlex.quote(v) for k, v in names.items()})

    def line(self, model: str = "MODEL", file: str = "FILE", data: str = "SOURCE") -> str:
        """The verdict in one line, with the next command.

        Args:
            model: As for `next`.
            file: As for `next`.
            data: As for `next`.
        """
        command = self.next(model, file, data)
        said = f"{self.grade}: {self.reason}"
        return f"{said}. Next: {command}" if command else said

    def as_dict(
        self, model: str = "MODEL", file: str = "FILE", data: str = "SOURCE"
    ) -> dict[str, str]:
        """Convert to plain data, ready for JSON.

        Args:
            model: As for `next`.
            file: As for `next`.
            data: As for `next`.
        """
        command = self.next(model, file, data)
        return {"grade": self.grade, "reason": self.reason, "next": command}

    def __str__(self) -> str:
        return self.line()


@dataclass(frozen=True)
class Reservation:
    """A reason why a result is not good, whatever its outputs are.

    Attributes:
        reason: The reason, in words.
        remedy: What to do next.
    """

    reason: str
    remedy: Remedy


def judge(
    figures: Sequence[Figure],
    *,
    accuracy: tuple[float, float] | None = None,
    metric: tuple[float, float] | None = None,
    reservations: Sequence[Reservation] = (),
    remedy: Remedy = "diagnose",
) -> Verdict:
    """Judge a result by its worst part.

    Args:
        figures: How far each part of each output is from that of the float network.
        accuracy: That of the float network and that of the result, if there are labels. It counts
            instead of the agreement of classes.
        metric: The value of the user's own metric and the largest one that is good. It counts
            instead of everything else about the outputs.
        reservations: What keeps the result from being good, the most important first.
        remedy: What to do if the outputs are not good.
    """
    judged = [(grade(figure, accuracy is not None), _said(figure, figures)) for figure in figures]
    if accuracy is not None:
        judged.insert(0, _of_labels(*accuracy))
    if metric is not None:
        judged = [_of_metric(*metric)]
    found, reason = max(judged, key=lambda item: GRADES.index(item[0]), default=("good", "equal"))
    if found == "bad" or (found == "look" and not reservations):
        return Verdict(found, reason, remedy)
    if reservations:
        why = "; ".join(reservation.reason for reservation in reservations)
        return Verdict("look", f"{why} ({reason})", reservations[0].remedy)
    return Verdict("good", reason)


def grade(figure: Figure, labelled: bool = False) -> Grade:
    """Judge one part of an output.

    Args:
        figure: How far it is from that of the float network.
        labelled: Whether classes are judged by labels, so that their agreement does not count.
    """
    kind = figure.part.kind
    has_share = figure.share is not None and not (labelled and kind == "classes")
    if has_share and kind == "classes" and figure.distinct < 2:
        return _against(figure.sqnr, *_DECIBELS["values"])  # one class for all is no evidence
    grades: list[Grade] = [_against(figure.sqnr, *_DECIBELS[kind])]
    if has_share and figure.share is not None:
        grades.append(_against(figure.share, *_SHARES[kind]))
    return worst(grades)


def needed(figure: Figure) -> float:
    """The signal-to-noise ratio in dB that a part should have: from which it is probably good.

    Single scores should have more: what they decide is near a limit more often than classes are
    near each other.

    Args:
        figure: How far it is from that of the float network.
    """
    if figure.part.single:
        return _SINGLE
    least = _DECIBELS[figure.part.kind][0]
    if grade(figure) == "good":
        return min(least, figure.sqnr)
    return max(least, figure.sqnr + _MORE)


def worst(grades: Sequence[Grade]) -> Grade:
    """The worst of some grades; good if there are none.

    Args:
        grades: The grades.
    """
    return GRADES[max(map(GRADES.index, grades), default=0)]


def _against(value: float, good: float, poor: float) -> Grade:
    if value >= good:
        return "good"
    return "look" if value >= poor else "bad"


def _of_labels(before: float, after: float) -> tuple[Grade, str]:
    lost = round(before - after, 9)
    found = _against(-lost, *(-limit for limit in _DROP))
    points = round(-100 * lost, 2) + 0.0  # which makes a zero of a negative zero
    return found, f"accuracy {before:.2%} → {after:.2%} ({points:+.2f} points)"


def _of_metric(value: float, most: float) -> tuple[Grade, str]:
    found: Grade = "good" if value <= most else "bad"  # NaN is bad
    return found, f"the metric is {value:.4g}, and {most:.4g} is allowed"


def _said(figure: Figure, figures: Sequence[Figure]) -> str:
    return str(figure) if len(figures) == 1 else f"{figure.part.name}: {figure}"
