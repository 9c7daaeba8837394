"""Ranges of integer inputs: those of their type, or those that are given and count."""

import pytest
import torch
from torch import nn

import tersor
from tersor.data.invented.synthetic import Synthetic, looked_up, random_example, synthetic_batches
from tersor.data.pictures.photographs import photographs
from tersor.errors import InvalidInputError, RangeWarning
from tersor.frontend.capture import capture
from tersor.quant.ranges.input_range import assumed_inputs, guessed_inputs, input_ranges


class Picture(nn.Module):
    """Preprocesses integers in the graph."""

    def __init__(self, shift=120.0):
        super().__init__()
        self.shift = shift
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, image):
        return self.conv((image.float() - self.shift) / 60).relu().mean((2, 3))


class Words(nn.Module):
    """Looks token numbers up, shifted first, and weighs them by a mask."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, ids, weights):
        ids = torch.where(ids < 0, ids + 50, ids)
        return self.head((self.table(ids) * weights[..., None]).sum(1))


def of(dtype, model=None, value=0):
    example = torch.full((2, 3, 8, 8), value, dtype=dtype)
    return capture((model or Picture()).eval(), example)


def words():
    ids, weights = torch.zeros(2, 6, dtype=torch.int64), torch.ones(2, 6, dtype=torch.int32)
    return capture(Words().eval(), (ids, weights))


def test_8_bits_have_the_range_of_their_type():
    assert input_ranges(of(torch.uint8)) == {"image": (0.0, 255.0)}
    assert input_ranges(of(torch.int8)) == {"image": (-128.0, 127.0)}
    assert input_ranges(of(torch.int32)) == {}


@pytest.mark.parametrize("given", [(10, 20), {"image": (10, 20)}])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_a_given_range_counts_for_integers(dtype, given):
    network = of(dtype)
    assert input_ranges(network, given) == {"image": (10.0, 20.0)}
    drawn = [x for (x,), _ in synthetic_batches(network, Synthetic(), {"image": (10.0, 20.0)})]
    seen = torch.stack(drawn)
    assert seen.dtype == dtype
    assert (seen.min(), seen.max()) == (10, 20)


def test_random_pictures_of_8_bits_are_not_black():
    (x,), _ = next(synthetic_batches(of(torch.uint8), Synthetic()))
    assert x.float().std() > 40
    shapes, types = [(1, 3, 16, 16)] * 3, (torch.uint8, torch.int8, torch.int64)
    unsigned, signed, wide = random_example(shapes, types=types)
    assert unsigned.max() > 200
    assert signed.min() < -80
    assert set(wide.unique().tolist()) == {0, 1}
    (narrow,) = random_example(shapes[:1], (3.0, 9.0), types=types)
    assert (narrow.min(), narrow.max()) == (3, 9)


def test_quantized_ranges_follow_the_type_or_what_is_given():
    torch.manual_seed(0)
    model, x = Picture().eval(), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

    def highest(**options):
        records = tersor.quantize(model, x, **options).records
        ranges = {r.layer: r.numbers for r in records if "high" in getattr(r, "numbers", {})}
        return ranges["div"]["high"]  # what the preprocessing gives

    assert highest(input_range=(0, 255)) == highest() == pytest.approx((255 - 120) / 60)
    assert highest(input_range=(100, 130)) < highest() / 2


def test_a_range_that_nothing_needs():
    network = words()
    assert looked_up(network) == {"ids"}
    assert input_ranges(network, (0, 1)) == {"weights": (0.0, 1.0)}
    assert input_ranges(network, {"weights": (0, 3)}) == {"weights": (0.0, 3.0)}
    with pytest.raises(InvalidInputError, match=r"no input 'ids' .* have one are weights"):
        input_ranges(network, {"ids": (0, 40)})
    with pytest.raises(InvalidInputError, match="no input 'image'"):
        input_ranges(network, {"image": (0, 40)})


class Lookup(nn.Module):
    """Nothing but token numbers."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(50, 8), nn.Linear(8, 4)

    def forward(self, ids):
        return self.head(self.table(ids).mean(1))


def test_a_range_without_any_input_for_it():
    network = capture(Lookup().eval(), torch.zeros(2, 6, dtype=torch.int64))
    with pytest.raises(InvalidInputError, match="no effect"):
        input_ranges(network, (0, 40))


PHOTOGRAPH = photographs(2, 3, 64, 64)


def convolution(example):
    return capture(nn.Conv2d(3, 4, 3).eval(), example)


def test_the_range_of_pictures_is_a_guess_if_their_example_is_noise():
    noise = torch.randn(2, 3, 32, 32, generator=torch.manual_seed(0))
    assert set(guessed_inputs(convolution(noise))) == {"input_1"}
    assert set(guessed_inputs(convolution(torch.zeros(2, 3, 32, 32)))) == {"input_1"}
    assert guessed_inputs(convolution(PHOTOGRAPH)) == {}
    assert guessed_inputs(convolution(noise[..., :12])) == {}  # too small for a picture


def test_a_guess_is_recorded_and_for_pictures_of_real_size_a_warning():
    network = convolution(torch.rand(2, 3, 32, 32, generator=torch.manual_seed(0)))
    assert assumed_inputs(network).guessed == {"input_1"}
    assert [r.step for r in network.records] == ["guess"]
    with pytest.warns(RangeWarning, match=r"The range of the pictures 'input' .* is a guess"):
        assumed_inputs(convolution(torch.rand(2, 3, 64, 64)))


@pytest.mark.parametrize("given", ["imagenet", (0, 1), {"input": "pixels"}, {"input_1": (0, 1)}])
def test_a_range_that_is_given_is_no_guess(given):
    network = convolution(torch.rand(2, 3, 64, 64))
    found = assumed_inputs(network, given)
    assert found.guessed == frozenset()
    assert network.records == []


def test_words_stand_for_ranges():
    network = convolution(torch.rand(2, 3, 16, 16))
    assert input_ranges(network, "pixels") == {"input_1": (0.0, 255.0)}
    low, high = input_ranges(network, "imagenet")["input_1"]
    assert low == pytest.approx(-0.485 / 0.229, abs=1e-3)
    assert high == pytest.approx((1 - 0.406) / 0.225, abs=1e-3)
    with pytest.raises(InvalidInputError, match=r"'photos' is no known range.*pixels, imagenet"):
        input_ranges(network, "photos")


def trained_on(pictures):
    """A network whose BatchNorm has seen these pictures."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16, momentum=None), nn.ReLU())
    model(pictures)
    return capture(model.eval(), torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
def test_a_batch_norm_knows_the_range_of_pictures(low, high):
    network = trained_on(low + (high - low) * photographs(16, 3, 64, 64, seed=7))
    assert guessed_inputs(network) == {}
    found = assumed_inputs(network)
    assert found.guessed == frozenset()
    assert found.ranges["input_1"] == pytest.approx((low, high), abs=1e-5)
    assert "the BatchNorms have seen in training" in network.records[0].what


def test_a_batch_norm_that_has_seen_something_else_knows_nothing():
    network = trained_on(7 * torch.randn(16, 3, 64, 64, generator=torch.manual_seed(1)))
    assert set(guessed_inputs(network)) == {"input_1"}
