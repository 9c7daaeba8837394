"""What the outputs may lose, and how far those of a network are from that.

    ‖y − ŷ‖² / ‖y‖² ≤ 10^(−dB/10) for each part

y is what the float network returns for samples that are held back, and a part is what an output
holds of one nature: boxes and scores are two parts. `tersor.quant.in_float.float_search` looks for
a network that is within the tolerance.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from tersor.checked import Count, Positive, ProperShare, checked
from tersor.data.given.pieces import joined
from tersor.data.outputs.figures import Figure, PartTally
from tersor.data.outputs.outputs import Metric, damage, floats
from tersor.data.outputs.verdict import grade, needed
from tersor.data.walk.observe import Batch
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.quant.noise.noise_shares import float_parts
from tersor.quant.noise.simulated import NamedWatchers, simulated
from tersor.quant.placement.kept import Kept
from tersor.quant.placement.place import quantizers
from tersor.quant.range_methods import ActivationRange


@checked()
@dataclass(frozen=True)
class Tolerance:
    """What the outputs may lose, and how it is held.

    Attributes:
        decibels: Least signal-to-noise ratio of each part of each output. None asks that the
            verdict on each part is good.
        metric: Damage to the outputs of a batch, compared with those of the float model:
            `metric(outputs, reference)`, higher is worse. It is judged instead of the noise.
        damage: Largest mean of the metric over the batches.
        held_back: Share of the samples on which it is judged, and from which nothing is learned.
            None holds back none.
        slowest: Largest predicted time, as a share of that of the float network.
        trials: Largest number of mixtures that are quantized and measured in the simulation.
        proofs: Largest number of further ones, if the bound holds there, but not in the runtime.
    """

    decibels: float | None = 20.0
    metric: Metric | None = None
    damage: Positive | None = None
    held_back: ProperShare | None = 1 / 4
    slowest: Positive | None = None
    trials: Count = 16
    proofs: Count = 3

    def __post_init__(self) -> None:
        if (self.metric is None) != (self.damage is None):
            raise InvalidInputError(
                "Tolerance takes metric= and damage= together: a measure of the outputs, and the "
                "largest value of it that is good"
            )


#: A tolerance as users give it.
Allowed = float | Tolerance | Literal["auto"]
#: `"auto"`: where the verdict would be bad, or scores not good, what it calls good is held as far
#: as the file is not slower than float.
AUTO = Tolerance(None, held_back=None, slowest=1.0, trials=6, proofs=1)


#: Weights keep the nearest integers, or biases make up for that, or a solver has rounded them.
Weights = Literal["nearest", "corrected", "solved"]


@dataclass(frozen=True)
class Rounded:
    """A network that was quantized with data.

    Attributes:
        network: The result.
        prepared: The network before its weights were rounded.
        left_out: Names of calls that stay in floating point though they could be integers.
        weights: How its weights were rounded; see `Weights`.
        ranges: How the solver is to choose the ranges of its activations; None if they are there.
        seen: How it is on the samples on which biases were tried, if that was measured.
    """

    network: Network
    prepared: Network
    left_out: frozenset[str]
    weights: Weights = "solved"
    ranges: ActivationRange | None = None
    seen: "Attempt | None" = None

    @property
    def fewest_bits(self) -> int:
        """The bits of the narrowest weights or activations."""
        return min((quantizer.grid.bits for _, quantizer in quantizers(self.network)), default=8)


Quantize = Callable[[Kept], Rounded]
#: A quantized network and batches → for each batch what it returns, or the tensors in that.
Run = Callable[[Network, Sequence[Batch]], list[object]]


@dataclass(frozen=True)
class Attempt:
    """A network with some calls in floating point, and how far it is from what is wanted.

    Attributes:
        kept: The calls in floating point.
        result: The quantized network.
        figures: How far each part in floating point is from that of the float network.
        excess: The noise of each part, as a multiple of what is allowed; with a metric its value,
            likewise, for every part.
        where: What it was run in.
    """

    kept: Kept
    result: Rounded
    figures: tuple[Figure, ...]
    excess: Float[Tensor, " parts"]
    where: Literal["simulation", "runtime"] = "simulation"

    @property
    def worst(self) -> float:
        """The excess of the worst part; NaN counts as infinite."""
        return float(self.excess.nan_to_num(nan=torch.inf).max())

    @property
    def meets(self) -> bool:
        """Whether every part is as it should be."""
        return self.worst <= 1

    @property
    def is_bad(self) -> bool:
        """Whether the verdict on any part is bad."""
        return any(grade(figure) == "bad" for figure in self.figures)

    @property
    def needs_float(self) -> bool:
        """Whether layers stay in float by default: the verdict is bad, or scores need more.

        Few scores are large, and noise that is little of all of them is much of those. A score that
        decides alone needs more than a good verdict.
        """
        return any(_needs_float(figure) for figure in self.figures)

    @property
    def worst_part(self) -> int:
        """The number of the part that exceeds what is allowed by most."""
        return int(self.excess.nan_to_num(nan=torch.inf).argmax())


#: Calls that stay in floating point → how the outputs are then.
Measure = Callable[[Kept], Attempt]


class Judge:
    """The outputs of the float network for some samples, and what may differ from them.

    Attributes:
        batches: The samples.
        parts: The parts of the outputs in floating point, each with the number of its output.
    """

    def __init__(
        self,
        floating: Network,
        batches: Sequence[Batch],
        tolerance: Tolerance,
        watchers: NamedWatchers | None = None,
    ) -> None:
        """Run the float network.

        Args:
            floating: The network.
            batches: Samples, as `(args, kwargs)`.
            tolerance: What may differ.
            watchers: Those of values of the float network.
        """
        whole = tolerance.metric is not None  # of what a batch returns
        self.batches = batches if whole else joined(floating, batches)
        self._tolerance = tolerance
        self._run: Run = simulated
        self._where: Literal["simulation", "runtime"] = "simulation"
        self._reference = simulated(floating, self.batches, watchers)
        self.parts = float_parts(self._reference[0], floating.output_names)

    def in_runtime(self, run: Run) -> "Judge":
        """The same judge for networks that are run as files.

        Args:
            run: Runs a network in the runtime.
        """
        other = copy.copy(self)
        other._run, other._where = run, "runtime"
        return other

    def measure(self, quantized: Quantize) -> Measure:
        """Measure the networks that a function makes.

        Args:
            quantized: Quantizes the network with some calls in floating point.
        """
        return lambda kept: self.attempt(kept, quantized(kept))

    def attempt(self, kept: Kept, result: Rounded) -> Attempt:
        """Measure a network.

        Args:
            kept: Its calls in floating point.
            result: The quantized network.
        """
        found = self._run(result.network, self.batches)
        outputs = [_as(wanted, given) for wanted, given in zip(self._reference, found, strict=True)]
        tallies = [PartTally(part) for _, part in self.parts]
        for wanted, given in zip(self._reference, outputs, strict=True):
            of_float, of_given = floats(wanted), floats(given)
            for tally, (number, _) in zip(tallies, self.parts, strict=True):
                tally.add(of_float[number], of_given[number])
        figures = tuple(tally.figure() for tally in tallies)
        return Attempt(kept, result, figures, self._excess(figures, outputs), self._where)

    def _excess(self, found: tuple[Figure, ...], outputs: list[object]) -> Tensor:
        allowed, metric = self._tolerance, self._tolerance.metric
        if metric is not None:
            value = damage(outputs, self._reference, metric) / (allowed.damage or 1.0)
            return torch.full((max(len(found), 1),), value, dtype=torch.float64)
        missing = [_missing(figure, allowed.decibels) for figure in found]
        return 10 ** (torch.tensor(missing, dtype=torch.float64) / 10)


def _needs_float(figure: Figure) -> bool:
    is_score = figure.part.kind == "scores"
    return grade(figure) == "bad" or (is_score and figure.sqnr < needed(figure))


def _missing(figure: Figure, wanted: float | None) -> float:
    """The decibels that a part lacks; negative if it has more than it needs."""
    return (needed(figure) if wanted is None else wanted) - figure.sqnr


def _as(reference: object, outputs: object) -> object:
    """Tensors in the structure in which the float network returns them."""
    given = (x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor))
    leaves, structure = pytree.tree_flatten(reference)
    return pytree.tree_unflatten(
        [next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure
    )
