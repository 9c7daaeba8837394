"""Convolutions in integers are those of the rounded values, but for rounding errors."""

import pytest
import torch
import torch.nn.functional as F

from tersor.core import integer_kernels
from tersor.core.codes import codes
from tersor.core.grid import Grid
from tersor.core.integer_convolution import IntegerConvolution, Setting, fits

LAYERS = {
    "1×1": (Setting([1, 1], [0, 0], [1, 1], 1), (6, 5, 1, 1)),
    "padded": (Setting([1, 1], [1, 2], [1, 1], 1), (6, 5, 3, 5)),
    "strided": (Setting([2, 1], [0, 1], [1, 1], 1), (4, 5, 3, 3)),
    "dilated": (Setting([1, 1], [2, 2], [2, 2], 1), (3, 5, 3, 3)),
    "grouped": (Setting([1, 1], [1, 1], [1, 1], 2), (6, 3, 3, 3)),
}


def _input(channels, scale=0.02, grid=Grid(8, signed=False)):  # noqa: B008
    x = torch.randn(2, channels, 9, 8, generator=torch.manual_seed(0)) + 0.3
    found = codes(x, torch.tensor(scale), torch.tensor(0 if grid.signed else 90), grid)
    assert found is not None
    return found


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("one_scale", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("setting", "shape"), LAYERS.values(), ids=LAYERS.keys())
def test_it_is_the_convolution_of_the_rounded_values(setting, shape, has_bias, one_scale, bits):
    x = _input(shape[1] * setting.groups)
    if not fits(x):
        pytest.skip("this processor is as fast with floats")
    weight = torch.randn(shape, generator=torch.manual_seed(1))
    grid = Grid(bits, signed=True, symmetric=True)
    scale = torch.tensor(0.4) if one_scale else torch.linspace(0.1, 0.5, len(weight))
    rounded = codes(weight, scale, torch.zeros_like(scale), grid, None if one_scale else 0)
    assert rounded is not None
    bias = torch.randn(len(weight), generator=torch.manual_seed(2)) if has_bias else None
    moves = setting.stride, setting.padding, setting.dilation, setting.groups
    convolve = IntegerConvolution(rounded, bias, setting)
    for given in (x, _input(shape[1] * setting.groups, scale=0.05)):
        exact = (given.value().double(), rounded.value().double())
        wanted = F.conv2d(*exact, None if bias is None else bias.double(), *moves)
        limit = 1e-6 * float(wanted.abs().max())
        assert bool(((convolve(given).double() - wanted).abs() <= limit).all())


def test_what_no_kernel_reads_does_not_fit(monkeypatch):
    assert not fits(_input(4, grid=Grid(8, signed=True)))
    assert not fits(_input(4, grid=Grid(16, signed=False)))
    monkeypatch.setattr(integer_kernels, "are_fast", lambda: False)
    assert not fits(_input(4))
