"""What `compress` does, as options."""

from collections.abc import Sequence
from dataclasses import dataclass

from tersor.compression.chain_fit import Refit
from tersor.compression.gate_training import Gating
from tersor.compression.reconstruct import Reconstruct
from tersor.errors import InvalidInputError
from tersor.names import (
    BUDGET_RULES,
    KINDS,
    METHODS,
    SCORES,
    WAYS,
    BudgetRule,
    GateKind,
    Method,
    ScoreKind,
)


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
            `tersor.compression.scores`. Default: Fisher with data, else magnitude.
        samples: Reads no more samples than this.
        tried: Samples that parts are tried on: half of them fit, half judge.
        refit: How factors are fitted to the data.
        reconstruct: How layers that read pruned channels are fitted to them.
        gating: How gates are trained, for `"vib"`, `"bayes"` and `"l0"`.
    """

    methods: Sequence[str] = ("spatial", "prune")
    ratios: Sequence[float] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    multiple: int | None = None
    rule: BudgetRule = "least loss"
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
        if self.rule not in BUDGET_RULES:
            raise InvalidInputError(f"rule={self.rule!r}; choose of {', '.join(BUDGET_RULES)}")
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
