"""min_b ‖y − s·clip(⌊w / s⌋ + b, n, p)·x̂‖², b ∈ {0, 1}, by the cross-entropy method.

    b ~ Bernoulli(q),   q ← (1 − α) q + α · mean of the best b drawn,   q₀ = w / s − ⌊w / s⌋

AdaRound, arXiv 2004.10568, Table 2: to judge the relaxation, the binary problem of eq. 20 is solved
directly, with the method of Rubinstein (1999). The distribution that choices are drawn from starts
as the stochastic rounding of Gupta et al. (arXiv 1502.02551), which rounds up with probability q₀.
It moves towards the best of each round, until only one choice is left.

The paper gives neither the number of draws nor α; the defaults here are the usual ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.grid import Grid
from tersor.core.lattice import Scales, errors_of_ways
from tersor.core.quadratic import Quadratic, Weights
from tersor.core.soft_rounding import soft_integers


@dataclass(frozen=True)
class CrossEntropy:
    """Options of the cross-entropy method.

    Attributes:
        draws: Choices drawn for each row of weights in one round.
        elite: Share of the draws, the best ones, that the distribution moves towards.
        smoothing: α, how far it moves.
        rounds: Largest number of rounds.
    """

    draws: int = 1000
    elite: float = 0.05
    smoothing: float = 0.5
    rounds: int = 200


def cross_entropy(
    problem: Quadratic,
    weights: Weights,
    scale: Scales,
    grid: Grid,
    generator: torch.Generator,
    options: CrossEntropy = CrossEntropy(),
) -> tuple[Weights, Float[Tensor, "groups outputs"]]:
    """Round each weight up or down, all rows at once.

    Args:
        problem: The problem.
        weights: The float weights.
        scale: Size of one step for each output.
        grid: The allowed integers.
        generator: The source of random numbers.
        options: See `CrossEntropy`.

    Returns:
        The integers of the best choice drawn for each row, and their error.
    """
    ratio = weights / scale[..., None]
    low, likely = ratio.floor(), ratio - ratio.floor()
    best, least = low, torch.full_like(scale, float("inf"))
    count = max(1, round(options.elite * options.draws))
    for _ in range(options.rounds):
        up = _draw(likely, options.draws, generator)
        tried = soft_integers(low[..., None, :].expand_as(up), up, grid)
        errors, order = errors_of_ways(problem, scale[..., None, None] * tried).sort(-1)
        found = tried.take_along_dim(order[..., :1, None], -2).squeeze(-2)
        best = torch.where((errors[..., 0] < least)[..., None], found, best)
        least = torch.minimum(errors[..., 0], least)
        elite = up.take_along_dim(order[..., :count, None], -2).mean(-2)
        likely = likely + options.smoothing * (elite - likely)
        if bool(((likely - likely.round()).abs() < 1 / options.draws).all()):
            break
    return best, least


def _draw(
    likely: Weights, draws: int, generator: torch.Generator
) -> Float[Tensor, "groups outputs draws inputs"]:
    """Draw zeros and ones; ones have the given probability."""
    shape = *likely.shape[:-1], draws, likely.shape[-1]
    uniform = torch.rand(shape, generator=generator, dtype=likely.dtype).to(likely.device)
    return (uniform < likely[..., None, :]).to(likely.dtype)
