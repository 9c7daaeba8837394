"""Computes the factors of one layer from its weight alone, or fitted to the data that it reads.

Without data, the factors approximate W. With moments, they minimize the output error, and the bias
compensates its mean (arXiv 1505.06798, §3.2-3.3; see `tersor.core.refit`). With samples, they
minimize the error of the output after a ReLU (`tersor.core.fit_before_relu`).

Differs from the paper in: the first fit before a ReLU computes the factors from scratch, and later
fits start from the previous factors. The SVD is always computed from scratch, as its fit is exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.checked import Count, CountOrZero, PositiveOrZero, checked
from tersor.core.decompose import Chain, compose
from tersor.core.fit_before_relu import fit_before_relu
from tersor.core.quadratic import Quadratic, best_bias
from tersor.core.ranks import Ranks, decompositions
from tersor.core.refit import decompose_on_data, decompositions_on_data, descend, error, refit_last
from tersor.data.walk.gram import Moments
from tersor.graph.layers import Layer
from tersor.names import Method

_STEPS_AGAIN = 10  # steps of L-BFGS, each time that z has changed


@checked()
@dataclass(frozen=True)
class Refit:
    """Options of the fit to data.

    Attributes:
        damping: Pull towards the float weights, as a share of the mean diagonal of the Gram
            matrix. It prevents overfitting to few samples.
        steps: Largest number of L-BFGS steps over all factors; 0 fits only the last factor.
        samples: Number of output positions of a layer that are sampled for its Gram matrix.
        samples_per_weight: Least number of sampled positions for each weight of a row.
        seed: Seed of the sampled positions.
        relu: Whether a layer whose output is only read by a ReLU is fitted to the output of the
            ReLU.
    """

    damping: PositiveOrZero = 0.01
    steps: CountOrZero = 50
    samples: Count = 20_000
    samples_per_weight: Count = 20
    seed: int = 0
    relu: bool = True

    def positions(self, layer: Layer, count: int) -> int:
        """The number of output positions to take from each sample.

        Args:
            layer: The layer.
            count: The number of samples.
        """
        inputs = layer.weight[0].numel()
        return math.ceil(max(self.samples, self.samples_per_weight * inputs) / count)


@dataclass(frozen=True)
class Samples:
    """The inputs of a layer and its wanted outputs, at some positions.

    Attributes:
        patches: Input patches, each flattened like a row of the weight.
        outputs: y, including the bias.
    """

    patches: Float[Tensor, "inputs samples"]
    outputs: Float[Tensor, "outputs samples"]


@dataclass(frozen=True)
class Fitted:
    """The factors of a layer.

    Attributes:
        chain: The weights of the factors.
        shift: Correction to add to the bias, or None.
        lost: The error, as a share of the squared weights or of the variance of the output.
    """

    chain: Chain
    shift: Tensor | None
    lost: dict[str, float]


def fit_chain(
    layer: Layer, method: Method, ranks: Ranks, data: Moments | Samples | None, options: Refit
) -> Fitted:
    """Factorize the weight of a layer.

    Args:
        layer: The layer; it is not changed.
        method: The decomposition.
        ranks: The ranks.
        data: The data of the layer, or None.
        options: How the factors are fitted to the data.
    """
    return chain_fits(layer, method, data, options)(ranks)


def chain_fits(
    layer: Layer, method: Method, data: Moments | Samples | None, options: Refit
) -> Callable[[Ranks], Fitted]:
    """Factorize the weight of a layer at any ranks; see `fit_chain`.

    Args:
        layer: The layer; it is not changed.
        method: The decomposition.
        data: The data of the layer, or None.
        options: How the factors are fitted to the data.
    """
    weight = layer.weight.detach()
    if isinstance(data, Samples):
        return lambda ranks: _before_relu(layer, method, ranks, data, options)
    if data is None:
        chain_at = decompositions(method, weight)
        return lambda ranks: _without_data(chain_at(ranks), weight)
    free = data.centered()
    problem = free.damped(weight.flatten(1)[None], options.damping)
    fitted_at = decompositions_on_data(method, weight, problem, options.steps)
    return lambda ranks: _with_moments(fitted_at(ranks), data, free)


def _without_data(chain: Chain, weight: Tensor) -> Fitted:
    lost = _share((compose(chain) - weight).square(), weight.square())
    return Fitted(chain, None, {"weight lost": lost})


def _with_moments(chain: Chain, data: Moments, free: Quadratic) -> Fitted:
    shift = best_bias(compose(chain).flatten(1)[None], data.inputs, data.outputs)[0]
    return Fitted(chain, shift, {"output lost": _share(error(chain, free), free.energy)})


def _share(lost: Tensor, whole: Tensor) -> float:
    """The sum of one tensor as a share of the sum of the other, which may be 0."""
    return float(lost.sum() / whole.sum().clamp(min=torch.finfo(whole.dtype).tiny))


def _before_relu(
    layer: Layer, method: Method, ranks: Ranks, data: Samples, options: Refit
) -> Fitted:
    weight, mean = layer.weight.detach(), data.patches.mean(1)
    x = data.patches - mean[:, None]
    gram = x @ x.mT / x.shape[1]
    last: list[Chain] = []

    def nearest(z: Tensor) -> tuple[tuple[Chain, Tensor], Tensor]:
        """Compute the factors and the bias for a target."""
        middle = z.mean(1, keepdim=True)
        centered = z - middle
        target, energy = centered @ x.mT / x.shape[1], centered.square().mean(1)
        problem = Quadratic(gram[None], target[None], energy[None])
        problem = problem.damped(weight.flatten(1)[None], options.damping)
        if method == "svd" or not last:
            chain = decompose_on_data(method, weight, ranks, problem, options.steps)
        else:
            steps = min(options.steps, _STEPS_AGAIN)
            chain = descend(refit_last(last[-1], problem), problem, steps)
        last.append(chain)
        composed = compose(chain).flatten(1)
        bias = middle[:, 0] - composed @ mean
        return (chain, bias), composed @ x + middle

    (chain, bias), lost = fit_before_relu(nearest, data.outputs)
    shift = bias if layer.bias is None else bias - layer.bias.detach()
    return Fitted(chain, shift, {"output behind ReLU lost": lost})
