"""s_j = max|X_j|^α / max|W_j|^(1−α): moves the outliers of activations into weights.

SmoothQuant, arXiv 2211.10438, §4, equation 4: `y = x Wᵀ = (x / s) (W · s)ᵀ` for any s > 0. One step
size serves all channels of x, so a few large channels leave hardly any integers for the others.
Divided by s they do not, and the weights, which have a scale for each output, take the factor up.
α is the strength: at 0 activations stay as they are, at 1 all channels get the same range.

Differs from the paper in: max|X_j| is at least a share of the largest one, the floor. A channel
that is seldom active would be enlarged beyond all others otherwise, and its noise with it. Strength
and floor are chosen for every value, by the error of its layers on rows that were held back; the
paper takes one α for a network. The factors have a geometric mean of 1.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.affine import fake_quantize
from tersor.core.grid import Grid
from tersor.core.ranges import scale_zero_point

#: Rounds the weights of a layer to the integers that it will have.
RoundWeights = Callable[[Float[Tensor, "outputs inputs"]], Float[Tensor, "outputs inputs"]]
_TINY = 1e-5  # of the largest weight: what a column without weights counts as


@dataclass(frozen=True)
class Smoothed:
    """A candidate: the factors of the channels, and what makes them.

    Attributes:
        scale: s; the value is divided by it, and the weights are multiplied.
        strength: α.
        floor: Least range of a channel, as a share of the largest one.
        error: ‖y − ŷ‖² / ‖y‖² on the rows that were held back.
    """

    scale: Float[Tensor, " inputs"]
    strength: float
    floor: float
    error: float


@dataclass(frozen=True)
class Readers:
    """The layers that read a value, and rows of the value on which they are judged.

    Attributes:
        rows: Values that no range was taken from.
        grid: The grid of the value.
        layers: The weight of each layer, or some outputs of it, and what rounds it.
        weights: max|W_j| of each channel, over all layers.
    """

    rows: Float[Tensor, "rows inputs"]
    grid: Grid
    layers: Sequence[tuple[Float[Tensor, "outputs inputs"], RoundWeights]]
    weights: Float[Tensor, " inputs"]

    @cached_property
    def wanted(self) -> Sequence[Float[Tensor, "rows outputs"]]:
        """What each layer computes of the rows if nothing is rounded."""
        return [self.rows @ weight.T for weight, _ in self.layers]


def smoothing_scale(
    inputs: Float[Tensor, " inputs"],
    weights: Float[Tensor, " inputs"],
    strength: float,
    floor: float = 0.0,
) -> Float[Tensor, " inputs"]:
    """Compute the factors by which channels are divided, and their weights multiplied.

    Args:
        inputs: max|X_j| of each channel.
        weights: max|W_j| of each channel.
        strength: α, from 0 to 1; at 0 every factor is 1, and nothing is moved.
        floor: Least range of a channel, as a share of the largest one.

    Returns:
        Positive factors with a geometric mean of 1.
    """
    if strength == 0 or not bool(inputs.any()):
        return torch.ones_like(inputs)
    reach = inputs.clamp(min=max(floor, _TINY) * float(inputs.max())).double()
    held = weights.clamp(min=max(_TINY * float(weights.max()), 1e-30)).double()
    log_scale = strength * reach.log() - (1 - strength) * held.log()
    return (log_scale - log_scale.mean()).exp().to(inputs)


def smoothing_error(
    readers: Readers,
    low: Float[Tensor, " inputs"],
    high: Float[Tensor, " inputs"],
    scale: Float[Tensor, " inputs"],
) -> float:
    """Compute ‖y − ŷ‖² / ‖y‖², where both the value and the weights are rounded.

    The mean over the layers: the outputs of one may be much larger than those of another.

    Args:
        readers: The layers.
        low: The smallest value of each channel, which with `high` makes the range.
        high: The largest value of each channel.
        scale: The factors; all 1 for a value as it is.
    """
    ends = (low / scale).min(), (high / scale).max()
    step, zero_point = scale_zero_point(*ends, readers.grid)
    rounded = fake_quantize(readers.rows / scale, step, zero_point, readers.grid)
    errors = []
    for wanted, (weight, round_weights) in zip(readers.wanted, readers.layers, strict=True):
        found = rounded @ round_weights(weight * scale).T
        signal = wanted.square().sum(dtype=torch.float64)
        noise = (found - wanted).square().sum(dtype=torch.float64)
        errors.append(float(noise / signal) if float(signal) > 0 else float(noise))
    return sum(errors) / len(errors)


def best_smoothing(
    readers: Readers,
    low: Float[Tensor, " inputs"],
    high: Float[Tensor, " inputs"],
    candidates: Iterable[tuple[float, float]],
) -> tuple[Smoothed, float]:
    """Choose the strength and the floor that leave the least error.

    Args:
        readers: The layers.
        low: The smallest value of each channel.
        high: The largest value of each channel.
        candidates: Strengths with their floors. Leaving everything as it is, is always tried.

    Returns:
        The best candidate, which has strength 0 if none is better than nothing, and the error of
        doing nothing.
    """
    inputs, weights = torch.maximum(low.abs(), high.abs()), readers.weights
    tried = []
    for strength, floor in ((0.0, 0.0), *candidates):
        scale = smoothing_scale(inputs, weights, strength, floor)
        error = smoothing_error(readers, low, high, scale)
        tried.append(Smoothed(scale, strength, floor, error))
    return min(tried, key=lambda found: found.error), tried[0].error
