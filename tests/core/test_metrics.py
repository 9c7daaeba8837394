"""Metrics against NumPy, and on values that break naive formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tersor.core.metrics import decibels, signal_and_noise, sqnr, top1_agreement

floats = st.floats(-100, 100, width=32, allow_subnormal=False)


@given(hnp.arrays(np.float32, (3, 4), elements=floats), st.floats(1e-3, 1.0))
def test_sqnr_is_the_ratio_of_energies(x, noise):
    x = x.astype(np.float64) + 1e-3
    e = noise * np.cos(np.arange(12.0)).reshape(3, 4)
    expected = 20 * np.log10(np.linalg.norm(x) / np.linalg.norm(e))
    assert sqnr(torch.tensor(x), torch.tensor(x + e)) == pytest.approx(expected, abs=1e-6)


def test_one_bit_is_six_decibels():
    x = torch.linspace(-1, 1, 10001)

    def rounded(bits):
        return torch.round(x * 2**bits) / 2**bits

    assert sqnr(x, rounded(9)) - sqnr(x, rounded(8)) == pytest.approx(6.02, abs=0.1)


def test_equal_values_have_no_noise():
    x = torch.randn(5)
    assert sqnr(x, x) == math.inf
    assert sqnr(torch.zeros(3), torch.zeros(3)) == math.inf


def test_zero_reference_has_no_signal():
    assert sqnr(torch.zeros(3), torch.ones(3)) == -math.inf


def test_infinities_that_agree_do_not_count():
    x = torch.tensor([1.0, -math.inf, 2.0])
    assert sqnr(x, torch.tensor([1.0, -math.inf, 1.0])) == pytest.approx(10 * math.log10(5))
    assert sqnr(x, torch.tensor([1.0, 5.0, 2.0])) == -math.inf
    assert sqnr(torch.ones(2), torch.tensor([1.0, math.nan])) == -math.inf


def test_integers_and_booleans():
    assert sqnr(torch.tensor([3, 4]), torch.tensor([3, 4])) == math.inf
    assert sqnr(torch.tensor([True, True]), torch.tensor([True, False])) == pytest.approx(
        10 * math.log10(2)
    )


def test_energies_of_batches_add_up():
    x, y = torch.randn(2, 8, 3)
    parts = [signal_and_noise(a, b) for a, b in zip(x.split(3), y.split(3), strict=True)]
    signal, noise = map(sum, zip(*parts, strict=True))
    assert decibels(signal, noise) == pytest.approx(sqnr(x, y))


def test_top1_agreement_counts_rows():
    reference = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [5.0, 4.0]])
    test = torch.tensor([[0.0, 9.0], [2.0, 1.0], [1.0, 0.0], [8.0, 7.0]])
    assert top1_agreement(reference, test) == 0.75
