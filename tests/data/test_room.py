"""The least memory that is accepted counts what the network returns."""

import re

import pytest
import torch
from torch import nn

import tersor
from tersor.errors import InvalidInputError


class Maps(nn.Module):
    """Returns whole maps, or their means."""

    def __init__(self, whole):
        super().__init__()
        self.conv, self.whole = nn.Conv2d(3, 8, 3, padding=1), whole

    def forward(self, x):
        y = self.conv(x).relu()
        return y if self.whole else y.mean((2, 3))


def least(whole, side):
    with pytest.raises(InvalidInputError, match="too little") as told:
        tersor.quantize(Maps(whole).eval(), data=torch.rand(16, 3, side, side), memory="1MB")
    return int(re.search(r"the work takes (\d+)MB more", str(told.value))[1])


@pytest.mark.parametrize("side", [64, 128])
def test_returned_maps_take_room(side):
    """Those of the float network, of the quantized one, and their difference, for 16 samples."""
    more = 3 * 16 * 4 * 8 * side**2 / 1e6
    assert least(True, side) - least(False, side) == pytest.approx(more, abs=2)
