"""Batches become pieces of one size: all samples, in order, and as many at once as allowed."""

import pytest
import torch
from torch import nn

from tersor.data.observe import samples_of
from tersor.data.pieces import joined, pieces
from tersor.frontend.capture import capture


class Fixed(nn.Module):
    """Takes one sample at a time."""

    def forward(self, x):
        return x.reshape(1, 64) * 2


@pytest.fixture(scope="module")
def network():
    """A convolution whose widest value has 64 numbers for a sample."""
    return capture(nn.Conv2d(1, 1, 1), torch.zeros(2, 1, 8, 8))


def batches(*sizes, side=8):
    count = sum(sizes)
    samples = torch.arange(count).float().reshape(-1, 1, 1, 1).expand(-1, 1, side, side)
    return [((part,), {}) for part in samples.split(sizes)]


def order(found):
    return [int(x) for (batch,), _ in found for x in batch[:, 0, 0, 0]]


@pytest.mark.parametrize(
    ("sizes", "most", "wanted"),
    [
        ((1, 1, 1, 1, 1), 3, [3, 2]),
        ((2, 2, 1), 3, [2, 3]),
        ((7, 1, 1), 3, [3, 3, 1, 2]),
        ((1, 1), 0.5, [1, 1]),
    ],
)
def test_small_batches_are_joined_and_large_ones_are_cut(network, monkeypatch, sizes, most, wanted):
    monkeypatch.setattr("tersor.data.pieces.NUMBERS", int(most * 64))
    found = list(joined(network, batches(*sizes)))
    assert [samples_of(batch) for batch in found] == wanted
    assert order(found) == list(range(sum(sizes)))
    assert order(pieces(network, batches(*sizes))) == order(found)


def test_samples_of_other_sizes_or_of_a_fixed_batch_are_not_joined(network):
    other = [*batches(1), *batches(1, side=4), *batches(1, 1)]
    assert [samples_of(batch) for batch in joined(network, other)] == [1, 1, 2]
    fixed = capture(Fixed(), torch.zeros(1, 1, 8, 8))
    given = batches(1, 1)
    assert list(joined(fixed, given)) == given


def test_what_samples_share_is_left_as_it_is(network):
    shared = [((x, torch.ones(())), {}) for ((x,), _) in batches(1, 1)]
    assert list(joined(network, shared)) == shared
