"""The verdict follows from figures alone."""

import pytest

from tersor.data.outputs.figures import Figure
from tersor.data.outputs.output_parts import Part
from tersor.data.outputs.verdict import GRADES, Reservation, Verdict, grade, judge, needed, worst

CLASSES = Part("logits", "classes")
BOXES, SCORES = Part("y", "values", 1, 0, 4), Part("y", "scores", 1, 4, 22)
GOOD = Figure(CLASSES, 25.0, 0.99, 200, 10)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (GOOD, "good"),
        (Figure(CLASSES, 25.0, 0.90, 200, 10), "look"),
        (Figure(CLASSES, 25.0, 0.50, 200, 10), "bad"),
        (Figure(CLASSES, 2.0, 1.0, 200, 10), "bad"),
        (Figure(CLASSES, 12.0, 1.0, 200, 1), "look"),
        (Figure(Part("e", "embeddings"), 20.0, 0.999, 64), "good"),
        (Figure(Part("e", "embeddings"), 9.0, 0.93, 64), "look"),
        (Figure(Part("e", "embeddings"), 9.0, 0.80, 64), "bad"),
        (Figure(SCORES, 18.0), "look"),
        (Figure(SCORES, 21.0), "good"),
        (Figure(BOXES, 12.0), "look"),
        (Figure(BOXES, 30.0), "good"),
        (Figure(Part("n", "integers"), -3.0, 0.99, 64), "good"),
        (Figure(SCORES, float("nan")), "bad"),
    ],
)
def test_a_part_is_judged_by_what_it_is(figure, expected):
    assert grade(figure) == expected


def test_the_worst_part_decides_and_is_named():
    found = judge([GOOD, Figure(BOXES, 35.0), Figure(SCORES, 0.0)])
    assert (found.grade, found.remedy) == ("bad", "diagnose")
    assert found.reason == "y[4:22]: 0.0 dB against the float model"
    assert found.line("a.onnx", "b.onnx", "x.npy").endswith(
        ". Next: tersor diagnose a.onnx --data x.npy"
    )
    assert found.next("my model.onnx") == "tersor diagnose 'my model.onnx' --data SOURCE"


def test_labels_count_instead_of_agreement():
    poor = Figure(CLASSES, 25.0, 0.90, 200, 10)
    assert judge([poor]).grade == "look"
    assert judge([poor], accuracy=(0.915, 0.912)).grade == "good"
    assert judge([GOOD], accuracy=(0.915, 0.89)).grade == "look"
    lost = judge([GOOD], accuracy=(0.915, 0.26))
    assert lost.grade == "bad"
    assert lost.reason == "accuracy 91.50% → 26.00% (-65.50 points)"
    assert judge([Figure(CLASSES, 1.0, 0.9, 200, 10)], accuracy=(0.1, 0.1)).grade == "bad"
    assert judge([GOOD], accuracy=(0.5, 0.5)).reason == "accuracy 50.00% → 50.00% (+0.00 points)"


def test_one_point_may_be_lost():
    assert judge([GOOD], accuracy=(0.91, 0.90)).grade == "good"


def test_a_reservation_keeps_it_from_being_good_and_hides_nothing_bad():
    slower = Reservation("the file is slower", "float")
    found = judge([GOOD], reservations=[slower])
    assert (found.grade, found.remedy) == ("look", "float")
    assert found.reason == f"the file is slower ({GOOD})"
    assert judge([Figure(SCORES, 0.0)], reservations=[slower]).grade == "bad"


def test_the_users_own_metric_decides():
    lost = [Figure(SCORES, 0.0)]
    assert judge(lost, metric=(0.01, 0.02)).grade == "good"
    assert judge([GOOD], metric=(0.03, 0.02)).grade == "bad"
    assert judge([GOOD], metric=(float("nan"), 0.02)).grade == "bad"


def test_equal_outputs_are_good():
    found = judge([Figure(BOXES, float("inf"))])
    assert str(found) == "good: equal to the float model"
    assert found.as_dict() == {"grade": "good", "reason": "equal to the float model", "next": ""}
    named = Verdict("look", "8 dB", "test").as_dict("a.onnx", "b c.onnx", "x.npy")
    assert named["next"] == "tersor verify a.onnx 'b c.onnx' --data x.npy"


def test_the_worst_of_none_is_good():
    assert [worst([]), worst(["good", "bad", "look"]), *GRADES] == [
        "good",
        "bad",
        "good",
        "look",
        "bad",
    ]


@pytest.mark.parametrize(
    ("decibels", "single", "least"),
    [(15.0, False, 20.0), (25.0, False, 20.0), (15.0, True, 30.0), (25.0, True, 30.0)],
)
def test_single_scores_should_have_more_than_a_good_verdict(decibels, single, least):
    figure = Figure(Part("y", "scores", single=single), decibels)
    assert needed(figure) == least
    assert grade(figure) == ("good" if decibels > 20 else "look")
