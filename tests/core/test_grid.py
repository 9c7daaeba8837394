import pytest
import torch

from tersor.core.grid import Grid
from tersor.errors import InvalidInputError


@pytest.mark.parametrize(
    ("grid", "qmin", "qmax"),
    [
        (Grid(2), 0, 3),
        (Grid(2, signed=True), -2, 1),
        (Grid(8), 0, 255),
        (Grid(8, signed=True, symmetric=True), -128, 127),
        (Grid(16), 0, 65535),
        (Grid(32, signed=True), -2147483648, 2147483647),
    ],
)
def test_ends(grid, qmin, qmax):
    assert (grid.qmin, grid.qmax, grid.steps) == (qmin, qmax, qmax - qmin)


@pytest.mark.parametrize(
    ("bits", "container"), [(2, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16), (17, 32), (32, 32)]
)
def test_container_is_the_smallest_that_holds_the_grid(bits, container):
    assert Grid(bits).container == container


@pytest.mark.parametrize("bits", [-1, 0, 1, 33])
def test_widths_out_of_bounds_are_refused(bits):
    with pytest.raises(InvalidInputError, match=f"bits={bits}"):
        Grid(bits)


def test_a_grid_is_a_value():
    assert Grid(8) == Grid(bits=8, signed=False, symmetric=False)
    assert len({Grid(8), Grid(8), Grid(4)}) == 2


@pytest.mark.parametrize("bits", range(2, 33))
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_limits_are_the_outermost_integers_that_the_dtype_holds(bits, signed, dtype):
    grid = Grid(bits, signed)
    low, high = grid.limits(dtype)
    held = torch.tensor([low, high], dtype=dtype)
    assert held.tolist() == [low, high]
    assert grid.qmin <= low
    assert high <= grid.qmax
    beyond = torch.nextafter(held, torch.tensor([-torch.inf, torch.inf], dtype=dtype)).tolist()
    assert low == grid.qmin or beyond[0] == -torch.inf
    assert high == grid.qmax or beyond[1] > grid.qmax
