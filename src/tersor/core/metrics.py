"""Distances between results: signal-to-quantization-noise ratio, top-1 agreement, and cosines.

SQNR   = 10 · log10( ‖reference‖² / ‖reference − test‖² )   in dB
cosine = ⟨reference, test⟩ / ( ‖reference‖ · ‖test‖ )        of each pair of vectors
"""

from math import inf, isfinite, log10

from jaxtyping import Bool, Float, Num
from torch import Tensor, float64, nan_to_num, where

_PIECE = 1 << 17  # numbers at a time


def signal_and_noise(
    reference: Num[Tensor, "*shape"] | Bool[Tensor, "*shape"],
    test: Num[Tensor, "*shape"] | Bool[Tensor, "*shape"],
) -> tuple[float, float]:
    """Compute the two energies of the SQNR, so that batches can be summed before the division.

    Args:
        reference: The wanted values.
        test: The values to judge.

    Returns:
        `‖reference‖²` and `‖reference − test‖²`. Infinite values that agree count as neither;
        any other infinite or NaN value makes the noise infinite.
    """
    reference, test = reference.detach().flatten(), test.detach().flatten()
    pieces = zip(reference.split(_PIECE), test.split(_PIECE), strict=True)
    energies = [_energies(x.to(float64), y.to(float64)) for x, y in pieces]
    return sum(signal for signal, _ in energies), sum(noise for _, noise in energies)


def _energies(reference: Float[Tensor, "n"], test: Float[Tensor, "n"]) -> tuple[float, float]:
    """The two energies of a few numbers, which the processor's cache holds."""
    difference = reference - test
    signal, noise = float(reference.dot(reference)), float(difference.dot(difference))
    if not (isfinite(signal) and isfinite(noise)):
        signal = float(where(reference.isfinite(), reference, 0.0).square().sum())
        noise = float(where(reference == test, 0.0, difference).square().sum())
    return signal, noise if isfinite(noise) else inf


def decibels(signal: float, noise: float) -> float:
    """`10 · log10(signal / noise)`: infinite without noise, minus infinite without signal."""
    if noise == 0.0:
        return inf
    return 10.0 * log10(signal / noise) if signal > 0.0 and noise < inf else -inf


def sqnr(
    reference: Num[Tensor, "*shape"] | Bool[Tensor, "*shape"],
    test: Num[Tensor, "*shape"] | Bool[Tensor, "*shape"],
) -> float:
    """Signal-to-quantization-noise ratio of `test` against `reference`, in dB.

    Args:
        reference: The wanted values.
        test: The values to judge.

    Returns:
        The ratio in dB; infinite if both are equal.
    """
    return decibels(*signal_and_noise(reference, test))


def top1_agreement(
    reference: Num[Tensor, "batch classes"], test: Num[Tensor, "batch classes"]
) -> float:
    """The share of rows whose largest entry is at the same position.

    Args:
        reference: Scores, one row per sample; at least one row.
        test: Scores to compare.

    Returns:
        A share from 0 to 1.
    """
    return float((reference.argmax(1) == test.argmax(1)).double().mean())


def cosines(
    reference: Float[Tensor, "*rows width"], test: Float[Tensor, "*rows width"]
) -> Float[Tensor, "*rows"]:
    """The cosine of the angle between each vector and the one it is compared with.

    Args:
        reference: The wanted vectors, along the last axis.
        test: The vectors to judge.

    Returns:
        Numbers from −1 to 1; 0 where a vector is zero or not finite.
    """
    a, b = reference.detach().to(float64), test.detach().to(float64)
    product = (a * b).sum(-1)
    return nan_to_num(product / (a.norm(dim=-1) * b.norm(dim=-1)), 0.0, 0.0, 0.0)
