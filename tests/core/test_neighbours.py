"""Photographs are smooth, noise is not."""

import numpy as np
import pytest
import torch

from tersor.core.neighbours import neighbour_correlation


def test_it_is_the_autocorrelation_of_each_row():
    """With periodic rows and one whole wave, the oracle is the cosine of a step."""
    x = torch.sin(2 * np.pi * torch.arange(64, dtype=torch.float64) / 64).expand(1, 1, 8, 64)
    assert neighbour_correlation(x) == pytest.approx(np.cos(2 * np.pi / 64), abs=1e-6)


def test_noise_and_constants_have_none():
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert abs(neighbour_correlation(noise)) < 0.02
    assert neighbour_correlation(torch.ones(1, 1, 8, 8)) == 0.0
