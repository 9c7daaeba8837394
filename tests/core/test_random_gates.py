"""Gates: samples have the stated distribution, divergences are those that integration gives."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Normal, kl_divergence

from tersor.core.random_gates import (
    bottleneck_divergence,
    dropout_divergence,
    gaussian_gates,
    hard_concrete,
    log_alpha,
    open_probability,
)


@pytest.mark.parametrize(("mean", "variance"), [(1.0, 0.1), (-0.5, 2.0), (0.1, 0.1)])
def test_bottleneck_divergence_is_that_from_the_best_normal(mean, variance):
    """min over s of KL(N(μ, σ²) ‖ N(0, s²)), which s² = μ² + σ² reaches."""
    z = Normal(torch.tensor(mean), torch.tensor(variance).sqrt())
    scales = torch.linspace(0.01, 3, 30_000)
    want = kl_divergence(z, Normal(torch.zeros(()), scales)).min()
    alpha = log_alpha(torch.tensor([mean]), torch.tensor([variance]).log())
    assert torch.allclose(alpha.exp(), torch.tensor([variance / mean**2]))
    assert torch.allclose(bottleneck_divergence(alpha), want, atol=1e-4)


def log_uniform_divergence(alpha):
    """KL(N(1, α) ‖ 1 / |z|) up to a constant: −½ log α + E log |1 + √α ε|, integrated."""
    root = math.sqrt(alpha)

    def integrand(t):
        return stats.norm.pdf(t) * math.log(abs(1 + root * t))

    edge = -1 / root
    ends = [-12.0, *([edge] if edge > -12 else []), 12.0]
    pieces = pairwise(ends)
    expected = sum(integrate.quad(integrand, a, b, limit=500)[0] for a, b in pieces)
    return -0.5 * math.log(alpha) + expected


def test_dropout_divergence_is_the_integral_up_to_a_constant():
    alphas = [0.05, 0.2, 0.7, 1.5, 4.0, 20.0]
    want = np.array([log_uniform_divergence(alpha) for alpha in alphas])
    got = dropout_divergence(torch.tensor(alphas, dtype=torch.float64).log()).numpy()
    difference = want - got
    assert np.ptp(difference) < 0.03  # the approximation's own error
    assert np.ptp(want) > 1


def test_dropout_divergence_falls_to_zero():
    found = dropout_divergence(torch.linspace(-8, 12, 100))
    assert bool((found.diff() < 0).all())
    assert float(found[-1]) < 1e-4


def test_gaussian_gates():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(50_000, 2, generator=generator)
    mean, variance = torch.tensor([1.0, -0.3]), torch.tensor([0.04, 1.0])
    z = gaussian_gates(mean, variance.log(), noise)
    assert torch.allclose(z.mean(0), mean, atol=0.02)
    assert torch.allclose(z.var(0), variance, rtol=0.03)


def test_hard_concrete_gates_are_open_as_often_as_stated():
    generator = torch.Generator().manual_seed(0)
    alpha = torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0])
    z = hard_concrete(alpha, torch.rand(50_000, 5, generator=generator))
    assert float(z.min()) == 0
    assert float(z.max()) == 1
    assert torch.allclose((z > 0).float().mean(0), open_probability(alpha), atol=0.01)


def test_hard_concrete_gates_have_gradients():
    alpha = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    uniform = torch.full((1, 1), 0.4, dtype=torch.float64)
    assert torch.autograd.gradcheck(hard_concrete, (alpha, uniform))
