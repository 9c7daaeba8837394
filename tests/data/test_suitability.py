"""Samples that are prepared unlike those of the training, each mistake by itself."""

import re
import warnings

import pytest
import torch
from torch import nn

import tersor
from tersor.data.given.samples import samples
from tersor.data.invented.synthetic import Synthetic, synthetic_batches
from tersor.data.suitability.expected import channel_moments, expected, untrained
from tersor.data.suitability.suitability import misfit
from tersor.errors import SamplesWarning
from tersor.frontend.capture import capture
from tersor.graph.network import Skipped
from tersor.graph.simplify import simplify

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
TINT = torch.tensor([0.25, 0.0, -0.2]).view(3, 1, 1)  # red is brighter than blue


def pixels(count: int, seed: int = 0) -> torch.Tensor:
    """Pictures in 0…1 with the spectrum of photographs, and a tint that tells the colours apart."""
    network = capture(nn.Conv2d(3, 1, 1).eval(), torch.randn(2, 3, 16, 16))
    batches = synthetic_batches(network, Synthetic(batches=count // 2, seed=seed))
    noise = torch.cat([args[0] for args, _ in batches])
    return (0.5 + TINT + 0.2 * noise).clamp(0, 1)


def normalized(x: torch.Tensor) -> torch.Tensor:
    return (x - MEAN) / STD


def trained(prepared: torch.Tensor, colours: int = 3) -> nn.Sequential:
    """A network whose BatchNorms have seen these samples; its first layer tells colours apart."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(colours, 12, 3, bias=False),
        nn.BatchNorm2d(12, momentum=None),
        nn.ReLU(),
        nn.Conv2d(12, 8, 3, bias=False),
        nn.BatchNorm2d(8, momentum=None),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    for index in (1, 4):
        nn.init.uniform_(model[index].weight, 0.5, 1.5)
        nn.init.normal_(model[index].bias, std=0.5)
    model(prepared)
    return model.eval()


SEEN, GIVEN = pixels(64), pixels(32, seed=1)
MODEL = trained(normalized(SEEN))
MISTAKES = {
    "pixels in 0…255": 255 * GIVEN,
    "pixels in 0…1, and": GIVEN,
    "pixels in −1…1": 2 * GIVEN - 1,
    "whose mean was forgotten": GIVEN / STD,
    "not divided by std": GIVEN - MEAN,
    "mean and std of pixels in 0…255": (GIVEN - 255 * MEAN) / (255 * STD),
    "twice": GIVEN / 255,
    "swapped": normalized(GIVEN).flip(1),
}


def found(model: nn.Module, given: torch.Tensor, simplified: bool = False) -> str:
    network = capture(model, given[:2])
    if simplified:
        simplify(network)
    wrong = misfit(network, samples(network, given))
    return "" if wrong is None else wrong.words


@pytest.mark.parametrize("simplified", [False, True])
def test_samples_that_fit_are_not_mentioned(simplified):
    assert found(MODEL, normalized(GIVEN), simplified) == ""
    assert found(trained(SEEN), GIVEN, simplified) == ""
    assert found(trained(255 * SEEN), 255 * GIVEN, simplified) == ""


@pytest.mark.parametrize("words", MISTAKES)
def test_each_mistake_is_named_with_what_the_network_fits(words):
    said = found(MODEL, MISTAKES[words])
    assert words in said
    if words != "swapped":
        assert "the network fits pixels in 0…1, normalized with ImageNet's mean and std" in said
        assert "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225" in said
        assert "in the other order" not in said


def test_statistics_that_folding_left_behind_say_the_same():
    assert "pixels in 0…255, and the network fits" in found(MODEL, 255 * GIVEN, simplified=True)


def test_grey_pictures_have_their_mistakes_too():
    model = trained(SEEN.mean(1, keepdim=True), colours=1)
    said = found(model, 255 * GIVEN.mean(1, keepdim=True))
    assert "pixels in 0…255, and the network fits pixels in 0…1." in said
    assert found(model, GIVEN.mean(1, keepdim=True)) == ""


def test_the_formula_of_the_message_is_right():
    """What it says, done to pixels, gives samples that fit."""
    said = found(MODEL, 255 * GIVEN)
    formula = re.search(r"Prepare pixels p in 0…255 as (.*?) with", said)[1]
    prepared = eval(formula, {"p": 255 * GIVEN, "mean": MEAN, "std": STD})  # noqa: S307
    assert found(MODEL, prepared) == ""


def test_samples_of_another_kind_are_told_without_a_guess():
    noise = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    assert "no usual mistake explains it" in found(MODEL, 3 * noise)


def test_a_mistake_is_a_warning_and_a_record():
    with pytest.warns(SamplesWarning, match="pixels in 0…255"):
        q = tersor.quantize(MODEL, data=255 * GIVEN, options=tersor.WithData(rounding=None))
    assert [r.layer for r in q.records if isinstance(r, Skipped) and r.step == "samples"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tersor.quantize(MODEL, data=normalized(GIVEN), options=tersor.WithData(rounding=None))


@pytest.mark.parametrize("verb", ["compress", "pareto", "train"])
def test_every_verb_with_samples_says_it(verb):
    wrong, right = 255 * GIVEN, normalized(GIVEN)

    def run(data):
        if verb == "train":
            start = tersor.quantize(MODEL, GIVEN[:2], input_range=(-3, 3), weights=4)
            return tersor.train(start, [data], options=tersor.Training(steps=1)).records
        if verb == "compress":
            return tersor.compress(MODEL, data=data, macs=0.9).records
        return tersor.pareto(MODEL, data=data, macs=[0.9], latency=False).points

    with pytest.warns(SamplesWarning, match="pixels in 0…255"):
        told = run(wrong)
    if verb != "pareto":
        assert [r.layer for r in told if isinstance(r, Skipped) and r.step == "samples"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(right)


def test_diagnose_says_it_first():
    with pytest.warns(SamplesWarning):
        said = tersor.diagnose(MODEL, data=255 * GIVEN, most=16)
    assert not said.healthy
    assert "pixels in 0…255" in said.findings[0].what


def test_batch_norms_without_training_are_told():
    model = trained(normalized(SEEN))
    model[4].reset_running_stats()
    network = capture(model, GIVEN[:2])
    assert untrained(network) == ["4"]
    q = tersor.quantize(network)
    assert [r.layer for r in q.records if r.step == "statistics"] == ["4"]


def test_only_the_first_batch_norms_are_compared():
    network = capture(MODEL, GIVEN[:2])
    assert [x.name for x in expected(network)] == ["1"]
    (first,) = expected(network)
    ((mean, var),) = channel_moments(network, samples(network, normalized(SEEN)), [first.node])
    assert torch.allclose(mean, MODEL[1].running_mean, atol=1e-4)
    assert torch.allclose(var, MODEL[1].running_var, rtol=1e-2)


def folded(model: nn.Sequential) -> nn.Module:
    """As ONNX files have it: nothing is left of the statistics but the bias."""
    convolutions = [
        nn.utils.fusion.fuse_conv_bn_eval(model[index], model[index + 1]) for index in (0, 3)
    ]
    return nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], *model[5:]).eval()


def test_a_folded_network_knows_the_scale_of_its_pixels():
    assert "pixels in 0…255" in found(folded(MODEL), 255 * GIVEN)
    assert found(folded(MODEL), normalized(GIVEN)) == ""
    assert found(folded(trained(SEEN)), GIVEN) == ""
    assert "seems to fit pixels in 0…255" in found(folded(trained(255 * SEEN)), GIVEN)
    assert found(folded(trained(255 * SEEN)), 255 * GIVEN) == ""
