"""Mixtures of samples: what they are, and how their weights are drawn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.core.mixup import mixed, partners


@given(samples=st.integers(1, 6), rest=st.lists(st.integers(1, 3), max_size=3), seed=st.integers(0))
@settings(max_examples=40, deadline=None)
def test_a_mixture_lies_between_its_two_samples(samples, rest, seed):
    torch.manual_seed(seed % 2**63)
    x = torch.randn(samples, *rest, dtype=torch.float64)
    partner, weight = partners(samples, 0.7)
    found = mixed(x, partner, weight)
    for row, other, part in zip(range(samples), partner.tolist(), weight.tolist(), strict=True):
        torch.testing.assert_close(found[row], part * x[row] + (1 - part) * x[other])
    assert sorted(partner.tolist()) == list(range(samples))


def test_a_weight_of_one_changes_nothing():
    x = torch.randn(5, 3, 2)
    assert torch.equal(mixed(x, torch.randperm(5), torch.ones(5)), x)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_weights_have_the_moments_of_their_distribution(alpha):
    torch.manual_seed(0)
    _, weight = partners(20_000, alpha)
    assert float(weight.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(weight.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
