"""Columns that come in parts have the sums of all columns at once, as floats and as integers."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given

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
    rounding = y.abs().amax(-1, keepdim=True).double() / (2 * 32639)  # half a step of 16 bits
    allowed = torch.zeros(()), rounding * x.abs().sum(-1)[:, None], torch.zeros(())
    for sums, share in ((integers.sums(), 1), (floats.sums(), 0)):
        for ours, theirs, more in zip(sums, wanted, allowed, strict=True):
            limit = 1e-3 + 1e-5 * theirs.abs() + share * more
            assert bool(((ours.double() - theirs).abs() <= limit).all())


@pytest.mark.parametrize("by_column", [False, True])
def test_columns_may_lie_in_either_order(by_column):
    found, y = _given(Grid(8, signed=False))
    sums = []
    for turned in (False, by_column):
        products = IntegerProducts(found, y)
        for start in range(0, y.shape[-1], 300):
            part = ..., slice(start, start + 300)
            parts = found.integers[part], y[part]
            parts = [each.mT.contiguous().mT if turned else each.contiguous() for each in parts]
            products.add(*parts)
        sums.append(products.sums())
    assert all(map(torch.equal, *sums))


@example(np.full((3, 5), 8.82053e-37, np.float32))  # the unit would not be a normal number
@example(np.full((3, 5), 1e-44, np.float32))
@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_two_digits_hold_sixteen_bits(y):
    rows, scale = column_products._digits(torch.from_numpy(y))
    assert rows.dtype == torch.int8
    high, low, ones = rows.double().split(3)
    assert bool((ones == 1).all())
    error = ((256 * high + low) * scale - torch.from_numpy(y)).abs()
    assert bool((error <= 0.501 * scale).all())


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
