"""Rounding as a number between 0 (down) and 1 (up) that gradients can move: AdaRound's relaxation.

    W̃ = s · clip(⌊W / s⌋ + h(V), n, p)                         eq. 22
    h(V) = clip(sigmoid(V) · (ζ − γ) + γ, 0, 1)                 eq. 23, ζ = 1.1, γ = −0.1
    f_reg(V) = Σ 1 − |2 h(V) − 1|^β                             eq. 24, β falls

AdaRound, arXiv 2004.10568, §3.3. The rectified sigmoid is the hard concrete gate of arXiv
1712.01312: it is stretched beyond 0 and 1 and clipped, so that its gradient does not vanish near
either. The regularizer is 0 if every h is 0 or 1. A high β leaves all h that are not close to 0 or
1 free to follow the reconstruction error; a low β pulls every h to its side.

The paper gives neither the start of V nor the decay of β. Both are taken from the authors' own
code, AIMET (github.com/quic/aimet): the soft weight starts as the float weight, and β falls along
half a cosine after a warm start without the regularizer.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.grid import Grid

GAMMA, ZETA = -0.1, 1.1


def rectified_sigmoid(v: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """h(V) = clip(sigmoid(V) · (ζ − γ) + γ, 0, 1), eq. 23.

    Args:
        v: V, any real numbers.
    """
    return (torch.sigmoid(v) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def inverse_rectified_sigmoid(h: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """V = −log((ζ − γ) / (h − γ) − 1): the V of smallest size with a given h(V).

    Args:
        h: Numbers from 0 to 1.
    """
    return -torch.log((ZETA - GAMMA) / (h - GAMMA) - 1)


def soft_integers(
    low: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"], grid: Grid
) -> Float[Tensor, "*shape"]:
    """clip(⌊W / s⌋ + h, n, p), eq. 22: what is clipped has no gradient.

    Args:
        low: ⌊W / s⌋.
        up: h, or whether to round up.
        grid: The integers allowed.
    """
    return (low + up).clamp(grid.qmin, grid.qmax)


def regularizer(h: Float[Tensor, "*shape"], beta: float) -> Float[Tensor, ""]:
    """f_reg = Σ 1 − |2 h − 1|^β, eq. 24: 0 if every h is 0 or 1, and 1 for each h of a half.

    Args:
        h: Numbers from 0 to 1.
        beta: β, above 1.
    """
    return (1 - (2 * h - 1).abs().pow(beta)).sum()


def annealed(progress: float, first: float, last: float) -> float:
    """β = last + (first − last) · (1 + cos(π · progress)) / 2.

    Args:
        progress: From 0 to 1.
        first: β at 0.
        last: β at 1.
    """
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def beta_at(
    step: int, iterations: int, warm_start: float, ends: tuple[float, float]
) -> float | None:
    """β at one step, None during the warm start.

    Args:
        step: From 0.
        iterations: Number of steps.
        warm_start: Share of the steps without the regularizer.
        ends: First and last β.
    """
    first = warm_start * iterations
    if step < first:
        return None
    return annealed((step - first) / (iterations - first), *ends)
