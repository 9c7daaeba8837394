"""The options of level 1 (no data) and level 2 (samples); see `tersor.api.quantize`."""

from dataclasses import dataclass
from typing import Literal

from tersor.checked import Count, Positive, ProperShare, checked
from tersor.passes.absorb import Absorb
from tersor.passes.equalize import Equalize
from tersor.quant.adaround import AdaRound
from tersor.quant.block_rounding import Blocks
from tersor.quant.fast_rounding import Rounding
from tersor.quant.range_methods import (
    MSE,
    ActivationRange,
    Entropy,
    MinMax,
    Percentile,
    RangeMethod,
)
from tersor.quant.scheme import Scheme
from tersor.quant.smooth import Smoothing

WeightRange = MinMax | Percentile | MSE | RangeMethod
SeenRange = MinMax | Percentile | MSE | Entropy | ActivationRange
Equalization = Equalize | Literal["auto"] | None


@checked()
@dataclass(frozen=True)
class DataFree:
    """Options of level 1, without data; `PAPER` is the paper's own pipeline.

    Attributes:
        equalize: Options of cross-layer equalization, or None to skip it. `"auto"` chooses for the
            scheme: see `equalization`.
        absorb: Options of high-bias absorption, or None to skip it. It only pays off after the
            paper's equalization, which uses weights only and makes biases large.
        weight_range: How to choose weight ranges: `MinMax`, `Percentile` or `MSE` of
            `tersor.quant.range_methods`. The default is the smallest squared error below 8
            bits, where outliers are costly (white paper arXiv 2106.08295, §3.1), and min-max with
            8. 8-bit weights of a pair-safe scheme keep their pair-safe range regardless.
        correct_bias: Whether to subtract the expected rounding error from each bias.
        sigmas: Range of activations, in standard deviations from the mean.
    """

    equalize: Equalization = "auto"
    absorb: Absorb | None = None
    weight_range: WeightRange | None = None
    correct_bias: bool = True
    sigmas: Positive = 6.0


@checked()
@dataclass(frozen=True)
class WithData:
    """Options of level 2, with samples.

    Attributes:
        equalize: See `DataFree`; `"auto"` skips it if a solver rounds the weights.
        smooth: Options of SmoothQuant, which moves the outliers of activations into the weights of
            linear layers where that pays; None leaves them. See `tersor.quant.smooth`.
        weight_range: See `DataFree`.
        activation_range: How to choose activation ranges from the samples: `MinMax`,
            `Percentile`, `MSE` or `Entropy` of `tersor.quant.range_methods`. AdaRound uses
            min-max. `"auto"` is min-max, or `MSE` where the outputs of some samples that no range
            was taken from are more accurate with it.
        rounding: Options of the solver that rounds the weights. `Rounding` takes seconds,
            `AdaRound` is the paper's method, and `Blocks` is best for 2 and 3 bits. None rounds
            each weight to nearest, and subtracts the mean error on the samples from each bias.
        samples: Largest number of samples to read; None reads all. 1,024 as in AdaRound, §5.
        held_back: Share of the samples that is held out to check the rounding.
    """

    equalize: Equalization = "auto"
    smooth: Smoothing | None = Smoothing()  # noqa: RUF009
    weight_range: WeightRange | None = None
    activation_range: SeenRange | Literal["auto"] = "auto"
    rounding: Rounding | AdaRound | Blocks | None = Rounding()  # noqa: RUF009
    samples: Count | None = 1024
    held_back: ProperShare = 1 / 8


PAPER = DataFree(equalize=Equalize(), absorb=Absorb(borders=True))


def equalization(scheme: Scheme, solved: bool = False) -> Equalize | None:
    """Choose the equalization for a target, or None.

    With one scale per weight channel, only the activations are left to equalize. With one scale per
    layer, weights and activations share the imbalance. A solver compensates imbalance by itself,
    and works best on the network as it was trained: see docs/results/few_bits.md.

    Args:
        scheme: The target.
        solved: Whether a solver will round the weights.
    """
    if solved:
        return None
    if scheme.per_channel:
        return Equalize(strength=0.0, clipped="common")
    return Equalize(strength=0.25)
