"""Leaves as few layers as possible in floating point so that the outputs stay within a tolerance.

    min Σ price of what stays in float      such that  ‖y − ŷ‖² / ‖y‖² ≤ 10^(−dB/10) for each part

y is what the float network returns for samples that are held back, and a part is what an output
holds of one nature: boxes and scores are two parts. The noise of each quantizer is estimated
(`tersor.quant.noise_shares`), and a minimum cut chooses the calls (`tersor.quant.kept`). Then the
network is quantized anew without them and measured, and the estimate is corrected by what was
measured. At last every layer is put back in turn, and stays in integers if the bound still holds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.checked import Count, Positive, ProperShare, checked
from tersor.data.figures import Figure, PartTally
from tersor.data.observe import Batch
from tersor.data.outputs import Metric, damage, floats
from tersor.data.verdict import needed
from tersor.errors import InvalidInputError
from tersor.graph.network import Network
from tersor.quant.kept import NOTHING, Kept, Mixtures
from tersor.quant.noise_shares import float_parts
from tersor.quant.place import quantizers

_TIGHTER = 0.8  # by which a bound that was missed is tightened beyond the miss
_HOPELESS = 4.0  # a layer is not put back if that is predicted to exceed the bound so many times
_LEAST = 1e-12


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
        trials: Largest number of mixtures that are quantized and measured.
    """

    decibels: float | None = 20.0
    metric: Metric | None = None
    damage: Positive | None = None
    held_back: ProperShare | None = 1 / 4
    slowest: Positive | None = None
    trials: Count = 16

    def __post_init__(self) -> None:
        if (self.metric is None) != (self.damage is None):
            raise InvalidInputError(
                "Tolerance takes metric= and damage= together: a measure of the outputs, and the "
                "largest value of it that is good"
            )


#: A tolerance as users give it.
Allowed = float | Tolerance | Literal["auto"]
#: `"auto"`: what the verdict calls good is held, as far as most of the speed remains.
AUTO = Tolerance(None, held_back=None, slowest=0.8, trials=3)


@dataclass(frozen=True)
class Rounded:
    """A network that was quantized with data.

    Attributes:
        network: The result.
        prepared: The network before its weights were rounded.
        left_out: Names of calls that stay in floating point though they could be integers.
        is_solved: Whether a solver has rounded it; else weights keep the nearest integers.
    """

    network: Network
    prepared: Network
    left_out: frozenset[str]
    is_solved: bool = True

    @property
    def fewest_bits(self) -> int:
        """The bits of the narrowest weights or activations."""
        return min((quantizer.grid.bits for _, quantizer in quantizers(self.network)), default=8)


Quantize = Callable[[Kept], Rounded]


@dataclass(frozen=True)
class Attempt:
    """A network with some calls in floating point, and how far it is from what is wanted.

    Attributes:
        kept: The calls in floating point.
        result: The quantized network.
        figures: How far each part in floating point is from that of the float network.
        excess: The noise of each part, as a multiple of what is allowed; with a metric its value,
            likewise, for every part.
    """

    kept: Kept
    result: Rounded
    figures: tuple[Figure, ...]
    excess: Float[Tensor, " parts"]

    @property
    def worst(self) -> float:
        """The excess of the worst part; NaN counts as infinite."""
        return float(self.excess.nan_to_num(nan=torch.inf).max())

    @property
    def meets(self) -> bool:
        """Whether every part is as it should be."""
        return self.worst <= 1

    @property
    def worst_part(self) -> int:
        """The number of the part that exceeds what is allowed by most."""
        return int(self.excess.nan_to_num(nan=torch.inf).argmax())


class Judge:
    """The outputs of the float network for some samples, and what may differ from them.

    Attributes:
        batches: The samples.
        parts: The parts of the outputs in floating point, each with the number of its output.
    """

    def __init__(self, floating: Network, batches: list[Batch], tolerance: Tolerance) -> None:
        """Run the float network.

        Args:
            floating: The network.
            batches: Samples, as `(args, kwargs)`.
            tolerance: What may differ.
        """
        self.batches, self._tolerance = batches, tolerance
        self._reference = _run(floating, batches)
        self.parts = float_parts(self._reference[0], floating.output_names)

    def attempt(self, kept: Kept, result: Rounded) -> Attempt:
        """Measure a network.

        Args:
            kept: Its calls in floating point.
            result: The quantized network.
        """
        outputs = _run(result.network, self.batches)
        tallies = [PartTally(part) for _, part in self.parts]
        for wanted, given in zip(self._reference, outputs, strict=True):
            of_float, of_given = floats(wanted), floats(given)
            for tally, (number, _) in zip(tallies, self.parts, strict=True):
                tally.add(of_float[number], of_given[number])
        found = tuple(tally.figure() for tally in tallies)
        return Attempt(kept, result, found, self._excess(found, outputs))

    def _excess(self, found: tuple[Figure, ...], outputs: list[object]) -> Tensor:
        allowed, metric = self._tolerance, self._tolerance.metric
        if metric is not None:
            value = damage(outputs, self._reference, metric) / (allowed.damage or 1.0)
            return torch.full((max(len(found), 1),), value, dtype=torch.float64)
        missing = [_missing(figure, allowed.decibels) for figure in found]
        return 10 ** (torch.tensor(missing, dtype=torch.float64) / 10)


def search(
    first: Attempt,
    mixtures: Mixtures,
    judge: Judge,
    quantized: Quantize,
    tolerance: Tolerance,
) -> Attempt:
    """Find a network that meets the tolerance with few layers in floating point, or the best.

    Args:
        first: Everything in integers.
        mixtures: What can stay in floating point.
        judge: Measures networks.
        quantized: Quantizes the network with some calls in floating point.
        tolerance: What is wanted.
    """
    best, left = first, iter(range(tolerance.trials))
    for attempt in _closer(first, mixtures, judge, quantized, tolerance, left):
        if attempt.worst < best.worst:
            best = attempt
    return _put_back(best, mixtures, judge, quantized, left) if best.meets else best


def _closer(
    first: Attempt,
    mixtures: Mixtures,
    judge: Judge,
    quantized: Quantize,
    tolerance: Tolerance,
    left: Iterator[int],
) -> Iterator[Attempt]:
    """Mixtures of less and less noise, until one meets the tolerance."""
    attempt, wanted, tried = first, torch.tensor(torch.inf), {NOTHING}
    while not attempt.meets:
        scale = attempt.excess.nan_to_num(nan=torch.inf, posinf=1e12).clamp(min=_LEAST)
        wanted = torch.minimum(wanted, mixtures.noise(attempt.kept) / scale * _TIGHTER)
        kept = mixtures.least(wanted.clamp(min=_LEAST), tolerance.slowest)
        if kept in tried or next(left, None) is None:
            return
        tried.add(kept)
        attempt = judge.attempt(kept, quantized(kept))
        yield attempt


def _put_back(
    best: Attempt,
    mixtures: Mixtures,
    judge: Judge,
    quantized: Quantize,
    left: Iterator[int],
) -> Attempt:
    """Compute layers in integers again where the outputs stay within the tolerance."""
    for name in sorted(best.kept, key=lambda name: float(mixtures.noise(best.kept - {name}).max())):
        kept = mixtures.pruned(best.kept - {name})
        grown = mixtures.noise(kept) / mixtures.noise(best.kept).clamp(min=_LEAST)
        if float((grown * best.excess).max()) > _HOPELESS:
            continue
        if next(left, None) is None:
            break
        attempt = judge.attempt(kept, quantized(kept))
        best = attempt if attempt.meets else best
    return best


def _missing(figure: Figure, wanted: float | None) -> float:
    """The decibels that a part lacks; negative if it has more than it needs."""
    return (needed(figure) if wanted is None else wanted) - figure.sqnr


def _run(network: Network, batches: list[Batch]) -> list[object]:
    with torch.no_grad():
        return [network(*args, **kwargs) for args, kwargs in batches]
