"""The figures of each part, against direct computations; and what they are judged to be."""

import math

import pytest
import torch
from torch.nn import functional as F

from tersor.core.metrics import sqnr
from tersor.data.outputs.figures import figures
from tersor.data.outputs.verdict import grade
from tersor.errors import InvalidInputError


def drawn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_batches_and_outputs_add_up():
    logits, vectors = drawn(60, 10), F.normalize(drawn(60, 32))
    test = logits + 0.5 * drawn(60, 10, seed=2), F.normalize(vectors + 0.1 * drawn(60, 32, seed=3))
    batches = [
        list(zip(*(x.split(25) for x in pair), strict=True)) for pair in (test, (logits, vectors))
    ]
    classes, embedding = figures(*batches, names=("logits", "vector"))
    assert classes.sqnr == pytest.approx(sqnr(logits, test[0]), abs=1e-3)
    assert classes.share == float((logits.argmax(1) == test[0].argmax(1)).double().mean())
    assert (classes.rows, classes.distinct) == (60, len(logits.argmax(1).unique()))
    cosine = F.cosine_similarity(vectors, test[1]).mean()
    assert embedding.share == pytest.approx(float(cosine), abs=1e-5)
    assert str(embedding).startswith(f"cosine {float(cosine):.4f}, ")
    assert str(classes).startswith(f"{classes.share:.2%} of 60 classes agree, ")


def test_scores_beside_boxes_in_pixels_are_bad_if_they_are_lost():
    """The whole output has 60 dB, which is fine, and not one detection is left."""
    boxes, scores = 320 * torch.rand(2, 4, 300), torch.rand(2, 18, 300) ** 8
    wanted = torch.cat([boxes, scores], 1)
    given = torch.cat([boxes, torch.zeros_like(scores)], 1)
    assert sqnr(wanted, given) > 40
    found = figures([given], [wanted])
    assert [(f.part.kind, f.sqnr, grade(f)) for f in found] == [
        ("values", math.inf, "good"),
        ("scores", pytest.approx(0.0), "bad"),
    ]


def test_one_class_for_all_samples_is_no_evidence():
    wanted = torch.zeros(40, 10).index_fill(1, torch.tensor([3]), 9.0) + 0.1 * drawn(40, 10)
    wanted -= wanted.mean(1, keepdim=True)  # as trained logits are
    (found,) = figures([wanted + 4 * drawn(40, 10, seed=2).clamp(-1, 1)], [wanted])
    assert found.share == 1.0
    assert grade(found) != "good"


@pytest.mark.parametrize(
    ("wrong", "expected"), [(0, "good"), (1, "good"), (5, "look"), (15, "bad")]
)
def test_classes_are_judged_by_agreement(wrong, expected):
    wanted = 20 * F.one_hot(torch.arange(40) % 10, 10).float() + drawn(40, 10)
    given = wanted.clone()
    given[:wrong] = given[:wrong].roll(1, 1)
    (found,) = figures([given], [wanted])
    assert grade(found) == expected


def test_numbers_that_are_not_finite_are_bad():
    wanted = drawn(8, 512)
    (found,) = figures([wanted * math.nan], [wanted])
    assert grade(found) == "bad"
    (vectors,) = figures([wanted * math.nan], [wanted], names=["embedding"])
    assert (grade(vectors), vectors.share) == ("bad", 0.0)


def test_integers_are_right_or_wrong():
    (found,) = figures([torch.tensor([1, 2, 3, 5])], [torch.tensor([1, 2, 3, 4])])
    assert (found.share, grade(found)) == (0.75, "bad")


def test_a_network_that_returns_no_tensor_is_told():
    with pytest.raises(InvalidInputError, match="returns no tensor"):
        figures([[3]], [[3]])
