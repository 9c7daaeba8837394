"""What each level does, as options; `tersor.recipes` and `tersor.compression` do it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tersor.compress.fit import Refit
from tersor.compress.probabilistic import Gating
from tersor.compress.reconstruct import Reconstruct
from tersor.errors import InvalidInputError
from tersor.names import KINDS, METHODS, RULES, SCORES, WAYS, GateKind, Method, Rule, ScoreKind
from tersor.passes.absorb import Absorb
from tersor.passes.equalize import Equalize
from tersor.quant.adaround import AdaRound
from tersor.quant.blocks import Blocks
from tersor.quant.fast_rounding import Rounding
from tersor.quant.range_methods import ActivationRange, MinMax, RangeMethod
from tersor.quant.scheme import Scheme

Equalization = Equalize | Literal["auto"] | None


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
    weight_range: RangeMethod | None = None
    correct_bias: bool = True
    sigmas: float = 6.0


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
    weight_range: RangeMethod | None = None
    activation_range: ActivationRange = MinMax()  # noqa: RUF009
    rounding: Rounding | AdaRound | Blocks | None = Rounding()  # noqa: RUF009
    samples: int | None = 1024
    held_back: float = 1 / 8


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


@dataclass(frozen=True)
class Compression:
    """Options of `compress`.

    Attributes:
        methods: What may be done: `"prune"`, and decompositions of layers: `"svd"`, `"spatial"`,
            `"cp"`, `"tucker"`, `"tensor_train"`. Each part takes what serves the budget best. Or
            one of `"vib"`, `"bayes"` and `"l0"` alone: channels are chosen while they are trained.
        ratios: Shares of a part's cost that are tried.
        multiple: Ranks, and numbers of channels, are multiples of it where that is possible, as
            some kernels want it. Default: 8 for a budget of latency, else 1.
        rule: `"least loss"` of all parts together, or `"equal loss"` for each (the paper's).
        scores: Which channels go first: those with the lowest `"fisher"`, `"taylor"`,
            `"magnitude"` or `"batchnorm"`, or those that `"lasso"` leaves out; see
            `tersor.compress.scores`. Default: Fisher with data, else magnitude.
        samples: Reads no more samples than this.
        tried: Samples that parts are tried on: half of them fit, half judge.
        refit: How factors are fitted to the data.
        reconstruct: How layers that read pruned channels are fitted to them.
        gating: How gates are trained, for `"vib"`, `"bayes"` and `"l0"`.
    """

    methods: Sequence[str] = ("spatial", "prune")
    ratios: Sequence[float] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    multiple: int | None = None
    rule: Rule = "least loss"
    scores: ScoreKind | None = None
    samples: int = 1024
    tried: int = 256
    refit: Refit = Refit()  # noqa: RUF009
    reconstruct: Reconstruct = Reconstruct()  # noqa: RUF009
    gating: Gating = Gating()  # noqa: RUF009

    def __post_init__(self) -> None:
        self._check_methods()
        if not self.ratios or not all(0 < ratio < 1 for ratio in self.ratios):
            raise InvalidInputError(f"ratios={self.ratios}; give shares between 0 and 1")
        if self.rule not in RULES:
            raise InvalidInputError(f"rule={self.rule!r}; choose of {', '.join(RULES)}")
        if self.scores is not None and self.scores not in SCORES:
            raise InvalidInputError(f"scores={self.scores!r}; choose of {', '.join(SCORES)}")
        if self.multiple is not None and self.multiple < 1:
            raise InvalidInputError(f"multiple={self.multiple}; give 1 or more, such as 8")

    def _check_methods(self) -> None:
        if isinstance(self.methods, str):
            raise InvalidInputError(f"methods={self.methods!r}; give a list, [{self.methods!r}]")
        for method in self.methods:
            if method not in WAYS:
                raise InvalidInputError(f"method {method!r}; choose of {', '.join(WAYS)}")
        if not self.methods:
            raise InvalidInputError(f"methods is empty; choose of {', '.join(WAYS)}")
        if self.gates is not None and len(self.methods) > 1:
            raise InvalidInputError(
                f"{self.gates!r} goes alone; to do something else before or after, compress twice"
            )

    @property
    def decompositions(self) -> list[Method]:
        """The methods for layers."""
        return [method for method in METHODS if method in self.methods]

    @property
    def gates(self) -> GateKind | None:
        """The kind of gates that are trained, if any are."""
        return next((kind for kind in KINDS if kind in self.methods), None)
