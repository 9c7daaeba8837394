"""What level 1 (no data) and level 2 (samples) do, as options; `tersor.api.quantize` does it."""

from dataclasses import dataclass
from typing import Literal

from tersor.checked import Count, Positive, ProperShare, checked
from tersor.passes.absorb import Absorb
from tersor.passes.equalize import Equalize
from tersor.quant.adaround import AdaRound
from tersor.quant.blocks import Blocks
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

WeightRange = MinMax | Percentile | MSE | RangeMethod
SeenRange = MinMax | Percentile | MSE | Entropy | ActivationRange
Equalization = Equalize | Literal["auto"] | None


@checked()
@dataclass(frozen=True)
class DataFree:
    """What level 1 does; `PAPER` is the paper's own pipeline.

    Attributes:
        equalize: Options of cross-layer equalization, or None to leave it out. `"auto"` chooses
            for the scheme: see `equalization`.
        absorb: Options of high-bias absorption, or None to leave it out. Only the paper's
            equalization, which looks at weights alone, makes biases so high that it pays.
        weight_range: How to choose weight ranges: `MinMax`, `Percentile` or `MSE` of
            `tersor.quant.range_methods`. By default the smallest squared error below 8 bits, where
            outliers are dear (white paper arXiv 2106.08295, §3.1), and else min-max. 8-bit
            weights of a pair-safe scheme keep their pair-safe range, whatever is chosen.
        correct_bias: Whether to take the expected rounding error out of each bias.
        sigmas: Activation ranges reach this many standard deviations from the mean.
    """

    equalize: Equalization = "auto"
    absorb: Absorb | None = None
    weight_range: WeightRange | None = None
    correct_bias: bool = True
    sigmas: Positive = 6.0


@checked()
@dataclass(frozen=True)
class WithData:
    """What level 2 does.

    Attributes:
        equalize: As for `DataFree`; `"auto"` leaves it out where a solver rounds the weights.
        weight_range: As for `DataFree`.
        activation_range: How to choose a range for what the data bring about: `MinMax`,
            `Percentile`, `MSE` or `Entropy` of `tersor.quant.range_methods`. AdaRound has min-max.
        rounding: The solver that rounds the weights, by its options: `Rounding` takes seconds,
            `AdaRound` is the paper's method, `Blocks` is the best for 2 and 3 bits. None rounds
            each weight to its nearest value, and takes the mean error that data show out of each
            bias.
        samples: Reads no more samples than this; None reads all. 1,024 as in AdaRound, §5.
        held_back: Share of the samples that only check the rounding.
    """

    equalize: Equalization = "auto"
    weight_range: WeightRange | None = None
    activation_range: SeenRange = MinMax()  # noqa: RUF009
    rounding: Rounding | AdaRound | Blocks | None = Rounding()  # noqa: RUF009
    samples: Count | None = 1024
    held_back: ProperShare = 1 / 8


PAPER = DataFree(equalize=Equalize(), absorb=Absorb(borders=True))


def equalization(scheme: Scheme, solved: bool = False) -> Equalize | None:
    """The equalization that suits a target, or None.

    With one scale per weight channel only the activations are left to equalize. With one scale per
    layer, weights and activations share what imbalance there is. A solver makes up for imbalance
    by itself, and does so best in the network as it was trained: see docs/results.md.

    Args:
        scheme: The target.
        solved: Whether a solver will round the weights.
    """
    if solved:
        return None
    if scheme.per_channel:
        return Equalize(strength=0.0, clipped="common")
    return Equalize(strength=0.25)
