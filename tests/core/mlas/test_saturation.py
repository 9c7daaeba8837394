"""Saturating sums of pairs, against a loop over the pairs."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tersor.core.mlas.saturation import pair_excess, patches


def saturating(row, weight):
    """What `vpmaddubsw` and additions in int32 make of one sum."""
    total = 0
    for start in range(0, len(row), 2):
        pair = sum(
            int(a) * int(w) for a, w in zip(row[start:][:2], weight[start:][:2], strict=True)
        )
        total += max(-32768, min(32767, pair))
    return total


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), columns=st.integers(1, 9))
def test_excess_is_that_of_a_loop(seed, columns):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 256, (4, columns), generator=generator).float()
    weight = torch.randint(-128, 128, (3, columns), generator=generator).float()
    found = rows @ weight.T + pair_excess(rows, weight)
    wanted = [[saturating(row, column) for column in weight] for row in rows]
    assert found.tolist() == wanted


def test_the_largest_pair_saturates_and_the_largest_safe_one_does_not():
    rows = torch.full((1, 2), 255.0)
    weight = torch.tensor([[127.0, 127.0], [64.0, 64.0], [-128.0, -1.0], [127.0, -128.0]])
    assert pair_excess(rows, weight).tolist() == [[32767 - 254 * 255, 0, -32768 + 129 * 255, 0]]


def test_patches_have_their_channels_last():
    x = torch.arange(2 * 3 * 5 * 6).reshape(2, 3, 5, 6).float()
    weight = torch.randn(4, 3, 2, 3)
    found = patches(x, (2, 3), (2, 1), (1, 2)) @ weight.movedim(1, -1).flatten(1).T
    wanted = F.conv2d(x, weight, stride=(2, 1), dilation=(1, 2))
    torch.testing.assert_close(found.mT.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-3)
    line = torch.randn(1, 2, 7)
    found = patches(line, (3,), (2,), (1,)) @ weight[:, :2, 0].movedim(1, -1).flatten(1).T
    wanted = F.conv1d(line, weight[:, :2, 0], stride=2)
    torch.testing.assert_close(found.mT, wanted)
