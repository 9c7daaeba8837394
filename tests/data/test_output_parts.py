"""What an output is: decided on tensors whose nature is known by construction."""

import pytest
import torch

from tersor.data.outputs.output_parts import find_parts


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def unit(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("name", "output", "kind", "axis"),
    [
        ("y", drawn(8, 10).softmax(1), "classes", -1),
        ("y", drawn(8, 10).log_softmax(1), "classes", -1),
        ("y", drawn(8, 1000), "classes", -1),
        ("y", drawn(8, 4), "classes", -1),  # too few to tell
        ("y", drawn(64, 4) - drawn(64, 4).mean(1, keepdim=True), "classes", -1),
        ("logits", drawn(64, 4), "classes", -1),
        ("y", drawn(64, 4), "values", -1),
        ("y", drawn(8, 6, 30).softmax(2), "classes", -1),
        ("y", drawn(2, 21, 5, 5).softmax(1), "classes", 1),
        ("seg_logits", drawn(2, 21, 5, 5), "classes", 1),
        ("logits", drawn(2, 7, 256), "classes", -1),
        ("y", torch.nn.functional.normalize(drawn(8, 10)), "embeddings", -1),
        ("sentence_embedding", drawn(8, 384), "embeddings", -1),
        ("y", drawn(8, 512), "values", -1),
        ("y", drawn(8, 10).relu(), "values", -1),
        ("boxes", drawn(8, 4), "values", -1),
        ("y", drawn(8, 1), "values", -1),
        ("y", drawn(2, 3, 16, 16), "values", -1),
        ("y", unit(8, 20), "scores", -1),
        ("prob", unit(8, 1), "scores", -1),
        ("y", torch.arange(8), "integers", -1),
        ("y", torch.tensor(3.5), "values", -1),
        ("y", torch.zeros(0, 4), "values", -1),
    ],
)
def test_an_output_is_one_thing(name, output, kind, axis):
    (part,) = find_parts(name, output)
    assert (part.kind, part.axis, part.stop) == (kind, axis, None)
    assert part.name == name


@pytest.mark.parametrize(
    ("output", "is_single"),
    [(unit(8, 1), True), (unit(8), True), (unit(8, 4), True), (unit(8, 5), False)],
)
def test_a_few_scores_decide_alone(output, is_single):
    (part,) = find_parts("y", output)
    assert (part.kind, part.single) == ("scores", is_single)
    assert not find_parts("y", 2 * output - 1)[0].single


def test_with_labels_they_are_classes():
    (part,) = find_parts("y", drawn(64, 4), labelled=True)
    assert part.kind == "classes"


def test_classes_come_to_the_last_axis():
    output = drawn(2, 21, 5, 7).softmax(1)
    (part,) = find_parts("y", output)
    assert torch.equal(part.of(output).argmax(-1), output.argmax(1))


@pytest.mark.parametrize("axis", [1, 2])
def test_boxes_in_pixels_and_scores_are_two_parts(axis):
    """As YOLOv8 returns them; some classes are never seen."""
    scores = unit(2, 18, 300) ** 8
    scores[:, 5], scores[:, 9] = 0.0, 1e-6 * scores[:, 8]
    output = torch.cat([320 * unit(2, 4, 300), scores], 1)
    parts = find_parts("output0", output if axis == 1 else output.transpose(1, 2))
    assert [(p.kind, p.axis, p.start, p.stop) for p in parts] == [
        ("values", axis, 0, 4),
        ("scores", axis, 4, 22),
    ]
    assert parts[1].name == "output0[4:22]"


def test_an_objectness_before_its_boxes_is_a_part():
    """As FastestDet returns them."""
    output = torch.cat([unit(2, 1, 9, 9), drawn(2, 4, 9, 9), unit(2, 80, 9, 9)], 1)
    parts = find_parts("y", output)
    assert [(p.kind, p.start, p.stop) for p in parts] == [
        ("scores", 0, 1),
        ("values", 1, 5),
        ("scores", 5, 85),
    ]


def test_ranges_of_one_to_a_thousand_are_parts():
    parts = find_parts("y", torch.cat([drawn(80, 16), 1000 * drawn(80, 24)], 1))
    assert [(p.kind, p.start, p.stop) for p in parts] == [("values", 0, 16), ("values", 16, 40)]


def test_channels_of_many_sizes_are_one_output():
    sizes = torch.logspace(-1, 2, 32).view(4, 8).T.flatten()  # no two neighbours alike
    output = (drawn(4, 32, 9, 9) * sizes[:, None, None]).relu()
    assert [part.stop for part in find_parts("y", output)] == [None]
