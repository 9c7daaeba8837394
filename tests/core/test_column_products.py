"""Columns that come in parts have the sums of all columns at once, as floats and as integers."""

import pytest
import torch

from tersor.core import column_products
from tersor.core.codes import codes
from tersor.core.column_products import FloatProducts, IntegerProducts, multiplies_fast
from tersor.core.grid import Grid


def _given(grid, inputs=150, columns=900):
    generator = torch.manual_seed(0)
    x = torch.randn(1, inputs, columns, generator=generator) + 0.4
    found = codes(x, torch.tensor(0.02), torch.tensor(0 if grid.symmetric else 90), grid)
    assert found is not None
    return found, torch.randn(1, 7, columns, generator=generator)


@pytest.mark.parametrize("grid", [Grid(8, signed=False), Grid(8, signed=True, symmetric=True)])
@pytest.mark.parametrize("most", [1 << 16, 500])
def test_integers_have_the_sums_of_what_they_stand_for(grid, most, monkeypatch):
    monkeypatch.setattr(column_products, "_AT_ONCE", 128)
    monkeypatch.setattr(column_products, "_MOST", most)
    found, y = _given(grid)
    x = found.value().double()
    wanted = x @ x.mT, y.double() @ x.mT, x.sum(-1)
    integers, floats = IntegerProducts(found, y), FloatProducts(x, y.double())
    for start in range(0, x.shape[-1], 70):
        part = ..., slice(start, start + 70)
        integers.add(found.integers[part], y[part])
        floats.add(x[part], y.double()[part])
    for sums in (integers.sums(), floats.sums()):
        for ours, theirs in zip(sums, wanted, strict=True):
            assert torch.allclose(ours.double(), theirs, rtol=1e-5, atol=1e-3)


def test_sums_of_integers_of_one_sign_do_not_overflow():
    """Twice 2¹⁶ columns of −128, whose squares have a sum of 2³¹: one more than 32 bits hold."""
    found, _ = _given(Grid(8, signed=False), inputs=3)
    x = torch.zeros(1, 3, (1 << 17) + 5, dtype=torch.uint8)
    sums = IntegerProducts(found, torch.zeros(1, 1, 1))
    sums.add(x, torch.ones(1, 1, x.shape[-1]))
    step = 90 * 0.02
    whole, cross, total = sums.sums()
    for value, wanted in ((whole, step**2), (cross, -step), (total, -step)):
        assert torch.allclose(value / x.shape[-1], torch.tensor(wanted), rtol=1e-5)


def test_small_and_grouped_columns_are_multiplied_as_floats():
    found, _ = _given(Grid(8, signed=False))
    assert not multiplies_fast(found, groups=1, inputs=9)
    assert not multiplies_fast(found, groups=2, inputs=1000)
