"""Ranges of integer inputs: those of their type, or those that are given and count."""

import pytest
import torch
from torch import nn

import tersor
from tersor.data.synthetic import Synthetic, looked_up, random_example, synthetic_batches
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.quant.input_range import input_ranges


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
