"""Limits for scripts, on figures that are made up."""

from dataclasses import replace

import pytest

from tersor.data.outputs.figures import Figure
from tersor.data.outputs.output_parts import Part
from tersor.errors import InvalidInputError
from tersor.export.kernels import Kernel
from tersor.export.proof.limits import Limits
from tersor.export.proof.tally import Comparison
from tersor.export.proof.verification import Verification
from tersor.export.sessions.latency import Latency


def proof(part=None, sqnr=25.0, share=0.98, **changes):
    figure = Figure(part or Part("y", "classes"), sqnr, share, 100, 10)
    top1 = share if figure.part.kind == "classes" else None
    compared = {"y": Comparison(sqnr, 0.1, 1.0, top1, (figure,))}
    given = {
        "accuracy": {},
        "bytes": 30,
        "float_bytes": 100,
        "latency": Latency(2.0, 0.5, 9),
        "kernels": (Kernel("a", "Conv", "QLinearConv", ""),),
    }
    return Verification(100, {}, compared, compared, **given | changes)


LABELS = {"float": 0.915, "runtime": 0.900}


@pytest.mark.parametrize(
    ("option", "kept", "lost", "said"),
    [
        ("min_sqnr", 25.0, 25.1, "y has 25.0 dB against the float model, and --min-sqnr asks"),
        ("min_agreement", 0.98, 0.981, "98.00% of the classes agree"),
        ("max_drop", 0.015, 0.0149, "accuracy drops by 1.50 points, and --max-drop allows 1.49"),
        ("max_size", 0.3, 0.29, "0.3 times the size of the float file, and --max-size allows 0.29"),
        ("max_latency", 0.5, 0.49, "0.5 times the time of the float file, and --max-latency"),
        ("max_metric", 0.25, 0.2, "0.25 by the metric, and --max-metric allows 0.2"),
    ],
)
def test_a_limit_is_kept_or_told(option, kept, lost, said):
    measured = proof(accuracy=LABELS, metric=0.25)
    assert Limits(**{option: kept}).failures(measured) == []
    (sentence,) = Limits(**{option: lost}).failures(measured)
    assert said in sentence


def test_what_was_not_measured_cannot_be_limited():
    with pytest.raises(InvalidInputError, match="needs labels"):
        Limits(max_drop=0.01).failures(proof())
    with pytest.raises(InvalidInputError, match="none was found; give --min-sqnr"):
        Limits(min_agreement=0.9).failures(proof(Part("y", "values")))


def test_outputs_that_are_not_finite_fail():
    assert len(Limits(min_sqnr=-100.0).failures(proof(sqnr=float("-inf")))) == 1


def test_no_limit_is_always_kept():
    assert Limits().failures(proof(sqnr=-50.0)) == []
    assert Limits().given == []
    assert Limits(min_sqnr=3.0, max_size=1.0).given == ["--min-sqnr", "--max-size"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bytes": 120}, "larger than the float file, 1.20 times the size"),
        ({"latency": Latency(1.0, 1.25, 9)}, "slower than the float file, 0.80 times"),
        ({"kernels": (Kernel("a", "Conv", "Conv", "why"),)}, "no layer runs on integers"),
        ({"on_samples": False}, "noise says little"),
        ({"doubts": ("the samples are pixels",)}, "the samples are pixels"),
    ],
)
def test_a_result_that_is_no_gain_is_not_good(changes, said):
    assert proof().verdict.grade == "good"
    found = proof(**changes).verdict
    assert found.grade == "look"
    assert said in found.reason


def test_the_verdict_is_printed_last_and_is_in_the_json():
    measured = proof(share=0.5)
    assert str(measured).splitlines()[-1].startswith("verdict")
    assert measured.as_dict()["verdict"]["grade"] == "bad"
    assert measured.as_dict()["quantized"]["y"]["parts"][0]["share"] == 0.5


def test_printed_times_have_the_printed_ratio():
    times = Latency(0.0529, 0.437, 25)
    assert str(times) == "0.0529 → 0.0231 ms (2.29× as fast)"
    assert times.as_dict()["ms"] == pytest.approx(0.0529 * 0.437)


@pytest.mark.parametrize(
    ("runtime", "quantized", "said"),
    [
        (43.0, 28.0, None),
        (
            36.0,
            28.0,
            "the kernels (QLinearConv) round sums in the middle of two integers to the other one",
        ),
        (
            16.0,
            15.0,
            "the kernels (QLinearConv) are less exact than the simulation on this machine",
        ),
    ],
)
def test_kernels_that_differ_are_explained(runtime, quantized, said):
    """As measured: exact kernels; ties of W4A8 in a ResNet; a CPU on which kernels saturate."""
    exported, runtimes, simulated, floats = (
        {"y": Comparison(sqnr, 0.1, 1.0, None)} for sqnr in (43.8, runtime, 28.2, quantized)
    )
    changes = {"exported": exported, "runtime": runtimes, "simulated": simulated}
    rows = dict(replace(proof(), quantized=floats, **changes).rows())
    assert ("kernels" in rows) == (said is not None)
    assert said is None or rows["kernels"].startswith(said)
    unnamed = dict(replace(proof(), quantized=floats, **changes, kernels=()).rows())
    assert said is None or unnamed["kernels"].startswith(said.replace(" (QLinearConv)", ""))
