"""The verdict on what a change did to the outputs: good, look or bad.

A pure function of figures. Every threshold is written here, once.
"""

from typing import Literal

from tersor.data.figures import Figure

Grade = Literal["good", "look", "bad"]
GRADES: tuple[Grade, ...] = ("good", "look", "bad")  # the best first

#: What a part needs to be good, and what it needs not to be bad, by what it is.
_SHARES = {"classes": (0.95, 0.80), "embeddings": (0.99, 0.95), "integers": (0.95, 0.80)}
_DECIBELS = {
    "classes": (8.0, 3.0),
    "embeddings": (8.0, 3.0),
    "integers": (-200.0, -200.0),
    "scores": (16.0, 6.0),
    "values": (20.0, 10.0),
}


def grade(figure: Figure) -> Grade:
    """Judge one part of an output.

    Args:
        figure: How far it is from that of the float network.
    """
    kind = figure.part.kind
    if kind == "classes" and figure.distinct < 2:  # one class for all samples is no evidence
        return _against(figure.sqnr, *_DECIBELS["values"])
    grades: list[Grade] = [_against(figure.sqnr, *_DECIBELS[kind])]
    if figure.share is not None:
        grades.append(_against(figure.share, *_SHARES[kind]))
    return worst(grades)


def worst(grades: list[Grade]) -> Grade:
    """The worst of some grades; good if there are none.

    Args:
        grades: The grades.
    """
    return max(grades, key=GRADES.index, default="good")


def _against(value: float, good: float, poor: float) -> Grade:
    if value >= good:
        return "good"
    return "look" if value >= poor else "bad"
