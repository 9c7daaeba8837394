"""E[x̂ x̂ᵀ], E[y x̂ᵀ], E[y²], E[x̂], E[y]: all that the fast solver needs of one layer's data.

The means are over output positions sampled from every batch, which a pass over the data reads.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.quadratic import Quadratic
from tersor.graph.patches import choose, read, written
from tersor.quant.layerwise import Site


@dataclass(frozen=True)
class Moments:
    """What is left of the data of one layer.

    Attributes:
        problem: The output error as a function of the weights, without the bias.
        inputs: E[x̂].
        outputs: E[y], without the bias.
    """

    problem: Quadratic
    inputs: Float[Tensor, "groups inputs"]
    outputs: Float[Tensor, "groups outputs"]

    def centered(self) -> Quadratic:
        """The problem where the bias is free."""
        return self.problem.centered(self.inputs, self.outputs)


def measure(site: Site, batches: slice, positions: int) -> Moments:
    """One pass over the data of one layer.

    Args:
        site: The layer.
        batches: Which batches.
        positions: How many output positions to sample in all batches of the site.
    """
    layer, generator = site.layer, torch.Generator().manual_seed(site.seed)
    given, wanted = site.given[batches], site.wanted[batches]
    missing = site.missing[batches] if site.missing is not None else [0.0] * len(given)
    count = math.ceil(positions / sum(map(len, site.given)))
    sums: list[Tensor] = []
    samples = 0
    for x, y, lack in zip(given, wanted, missing, strict=True):
        at = choose(layer, y, count, generator)
        patches, outputs = read(layer, x, at), written(layer, y + lack, at)
        samples += patches.shape[-1]
        parts = (
            patches @ patches.mT,
            outputs @ patches.mT,
            outputs.square().sum(-1),
            patches.sum(-1),
            outputs.sum(-1),
        )
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
    gram, cross, energy, mean_x, mean_y = (total / samples for total in sums)
    return _without_bias(site, Moments(Quadratic(gram, cross, energy), mean_x, mean_y))


def _without_bias(site: Site, moments: Moments) -> Moments:
    """The moments of the output without its bias."""
    if site.layer.bias is None:
        return moments
    problem, x, y = moments.problem, moments.inputs, moments.outputs
    bias = site.layer.bias.detach().reshape(y.shape)
    target = problem.target - bias[..., None] * x[..., None, :]
    energy = problem.energy - 2 * bias * y + bias.square()
    return Moments(Quadratic(problem.gram, target, energy), x, y - bias)
