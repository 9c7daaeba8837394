"""Random gates z on channels, whose distribution is learned: unimportant channels become noisy.

    Gaussian        z = μ + σ ε,  α = σ² / μ²
    hard concrete   s = sigmoid((log u − log(1 − u) + log α) / b),  z = clip(s (ζ − γ) + γ, 0, 1)

    VIBNet          KL = ½ log(1 + 1 / α)                              gone if log α > 0
    Bayesian        −KL ≈ k₁ sigmoid(k₂ + k₃ log α) − ½ log(1 + 1/α) − k₁   gone if log α > 0
    L0              P(z ≠ 0) = sigmoid(log α − b log(−γ / ζ))          gone if below ½

VIBNet: Dai et al., arXiv 1802.10399, §3. Bayesian compression with a log-uniform prior on groups:
Louizos et al., arXiv 1705.08665, §3.1; its KL is that of sparse variational dropout, Molchanov et
al., arXiv 1701.05369, §4.2. L0: Louizos et al., arXiv 1712.01312, §2.2.

Differs from the papers in: Bayesian compression has the threshold of VIBNet. arXiv 1701.05369 has 3
for single weights, and the code of 1705.08665 has −2.8 to −5, chosen by hand for each layer.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.soft_rounding import GAMMA, ZETA, rectified_sigmoid

BETA = 2 / 3  # b, the temperature of the concrete distribution
OPEN = BETA * math.log(-GAMMA / ZETA)  # log α of a hard concrete gate that is 0 half of the time
_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695


def gaussian_gates(
    mean: Float[Tensor, " units"],
    log_variance: Float[Tensor, " units"],
    noise: Float[Tensor, "samples units"],
) -> Float[Tensor, "samples units"]:
    """z = μ + σ ε.

    Args:
        mean: μ.
        log_variance: log σ².
        noise: ε, standard normal.
    """
    return mean + (log_variance / 2).exp() * noise


def log_alpha(
    mean: Float[Tensor, " units"], log_variance: Float[Tensor, " units"]
) -> Float[Tensor, " units"]:
    """log α = log σ² − log μ².

    Args:
        mean: μ.
        log_variance: log σ².
    """
    return log_variance - mean.square().clamp(min=torch.finfo(mean.dtype).tiny).log()


def bottleneck_divergence(alpha: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
    """½ log(1 + 1 / α): KL divergence from N(0, σ²) with the best σ².

    Args:
        alpha: log α.
    """
    return torch.nn.functional.softplus(-alpha) / 2


def dropout_divergence(alpha: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
    """KL divergence from the log-uniform prior, up to a constant: it falls to 0 as α grows.

    Args:
        alpha: log α.
    """
    return _K1 * torch.sigmoid(-_K2 - _K3 * alpha) + torch.nn.functional.softplus(-alpha) / 2


def hard_concrete(
    alpha: Float[Tensor, " units"], uniform: Float[Tensor, "samples units"]
) -> Float[Tensor, "samples units"]:
    """Draw a gate that is exactly 0, or exactly 1, with a positive probability.

    Args:
        alpha: log α.
        uniform: u, from 0 to 1.
    """
    return rectified_sigmoid((torch.logit(uniform, 1e-6) + alpha) / BETA)


def open_probability(alpha: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
    """P(z ≠ 0) of a hard concrete gate.

    Args:
        alpha: log α.
    """
    return torch.sigmoid(alpha - OPEN)
