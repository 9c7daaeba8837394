"""What `compress` does, as options."""

from collections.abc import Sequence
from dataclasses import dataclass

from tersor.checked import Count, Part, checked
from tersor.compression.chain_fit import Refit
from tersor.compression.gate_training import Gating
from tersor.compression.reconstruct import Reconstruct
from tersor.errors import InvalidInputError
from tersor.names import KINDS, METHODS, BudgetRule, GateKind, Method, ScoreKind, WayName


@checked()
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

    methods: Sequence[WayName] = ("spatial", "prune")
    ratios: Sequence[Part] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    multiple: Count | None = None
    rule: BudgetRule = "least loss"
    scores: ScoreKind | None = None
    samples: Count = 1024
    tried: Count = 256
    refit: Refit = Refit()  # noqa: RUF009
    reconstruct: Reconstruct = Reconstruct()  # noqa: RUF009
    gating: Gating = Gating()  # noqa: RUF009

    def __post_init__(self) -> None:
        if not self.methods or not self.ratios:
            name = "ratios" if self.methods else "methods"
            raise InvalidInputError(f"Compression: {name} is empty; give one or more")
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
