"""The options of `compress`."""

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
        methods: The allowed methods: `"prune"`, the decompositions of layers `"svd"`, `"spatial"`,
            `"cp"`, `"depthwise"`, `"tucker"` and `"tensor_train"`, and `"drop"`, which leaves out
            whole residual branches and needs samples. Each part uses the method that serves the
            budget best.
            One of `"vib"`, `"bayes"` and `"l0"` may be given: gates then choose channels during
            training. Beside decompositions, they come second, and choose ranks, too; see
            `Gating.others`.
        ratios: Compression ratios to try: shares of a part's cost that remain.
        multiple: Ranks and numbers of channels are multiples of this number where possible, which
            some kernels prefer. Default: 8 for a budget of latency, otherwise 1.
        rule: `"least loss"` minimizes the damage of all parts together. `"equal loss"`, the rule
            of the paper, allows the same damage to each part.
        scores: How channels are ranked for pruning. Those with the lowest `"fisher"`, `"taylor"`,
            `"magnitude"` or `"batchnorm"` score are pruned first, or those that `"lasso"` does not
            select; see `tersor.compression.scores`. Default: Fisher with data (LASSO if no gradient
            passes through a part of the network), otherwise magnitude.
        samples: Largest number of samples to read.
        tried: Number of samples on which parts are tried: half of them fit, the others judge.
        refit: How factors are fitted to the data.
        reconstruct: How the layers that read pruned channels are fitted to the data.
        gating: How gates are trained, for `"vib"`, `"bayes"` and `"l0"`.
        name: A name of the run, which its folder keeps, and which must change with a metric whose
            code Python cannot see.
    """

    methods: Sequence[WayName] = ("depthwise", "spatial", "prune")
    ratios: Sequence[Part] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    multiple: Count | None = None
    rule: BudgetRule = "least loss"
    scores: ScoreKind | None = None
    samples: Count = 1024
    tried: Count = 256
    refit: Refit = Refit()  # noqa: RUF009
    reconstruct: Reconstruct = Reconstruct()  # noqa: RUF009
    gating: Gating = Gating()  # noqa: RUF009
    name: str = ""

    def __post_init__(self) -> None:
        if not self.methods or not self.ratios:
            name = "ratios" if self.methods else "methods"
            raise InvalidInputError(f"Compression: {name} is empty; give one or more")
        kinds = [kind for kind in KINDS if kind in self.methods]
        if len(kinds) > 1:
            raise InvalidInputError(
                f"Compression: {kinds[0]!r} and {kinds[1]!r} are both kinds of gates; choose one"
            )

    @property
    def decompositions(self) -> list[Method]:
        """The methods that decompose layers."""
        return [method for method in METHODS if method in self.methods]

    @property
    def others(self) -> list[WayName]:
        """The methods that choose without training; before gates, if there are any."""
        return [method for method in self.methods if method not in KINDS]

    @property
    def gates(self) -> GateKind | None:
        """The kind of gates that are trained, if any are."""
        return next((kind for kind in KINDS if kind in self.methods), None)
