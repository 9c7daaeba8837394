"""Finds the best mixture of pruning and factorization by trying it on the whole network.

    Ω_u ← w · Ω_u   for every group of channels u,   w ∈ {0, 1, 4, 16, ∞}

and branches may be left out, or not.

Parts are tried alone (`tersor.compression.sweep`), and their damages are additive unless the parts
overlap. Pruning and chains do overlap, as a pruned layer can also be factorized. So a few mixtures
are carried out: the first half of the samples fits them, and the other half determines which
mixture preserves the outputs best. With w = 0 channels are only pruned, and with w = ∞ layers are
only factorized. The best one is also tried without leaving out branches, whose damages are large,
and so estimated with more error. On the samples that judge, the result is at least as good as all.

This is an addition of Tersor. That the combination is best is a finding of arXiv 1912.09802.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf

from tersor.compression.counts import Counts
from tersor.compression.parts import Part
from tersor.compression.plan import Execution, carry_out
from tersor.compression.reconstruct import Reconstruct
from tersor.compression.sweep import Sweep, halves
from tersor.compression.ways import Dropped, Pruned, Way, dropped_in
from tersor.data.one_at_a_time import outputs_of
from tersor.data.outputs import damage
from tersor.errors import InvalidInputError
from tersor.graph.network import Applied


@dataclass(frozen=True)
class Mixture:
    """What is mixed.

    Attributes:
        weight: w.
        drops: Whether branches may be left out.
    """

    weight: float = 1.0
    drops: bool = True

    def __str__(self) -> str:
        """Plain words."""
        alone = {0.0: "pruning alone", inf: "factorization alone"}
        words = alone.get(self.weight, f"damage of pruning weighted by {self.weight:g}")
        return words if self.drops else f"{words}, all branches stay"


WEIGHTS = (1.0, 4.0, 16.0, inf, 0.0)
_FAR = 2.0  # times the damage that is expected of another mixture: not worth trying
Damages = Sequence[tuple[float, ...]]


def weighed(
    parts: Sequence[Part], damages: Damages, mixture: Mixture
) -> tuple[list[Part], Damages]:
    """Select the parts of a mixture, and weight their damages.

    Args:
        parts: All parts.
        damages: The damage of each of their ways.
        mixture: The mixture.
    """
    kept, found, weight = [], [], mixture.weight
    for part, lost in zip(parts, damages, strict=True):
        pruned, dropped = (isinstance(part.ways[0], kind) for kind in (Pruned, Dropped))
        if dropped and not mixture.drops:
            continue
        if not dropped and weight == (inf if pruned else 0.0):
            continue
        kept.append(part)
        found.append(tuple(weight * x for x in lost) if pruned and weight else lost)
    return kept, found


def best_mixture(
    counts: Counts,
    parts: Sequence[Part],
    damages: Damages,
    choose: Callable[[Mixture], list[Way]],
    sweep: Sweep,
    reconstruct: Reconstruct,
) -> list[Way]:
    """Choose the mixture of least damage; the plain one if there is nothing to mix, or no data.

    Args:
        counts: The counts of the network, which gets a record, but is not changed otherwise.
        parts: Its parts.
        damages: The damage of each of their ways.
        choose: Returns the ways of a mixture that fit into the budget.
        sweep: How parts were tried; mixtures are tried in the same manner.
        reconstruct: As in `Execution`.

    Raises:
        InvalidInputError: No mixture fits into the budget.
    """
    if not sweep.batches or len({type(part.ways[0]) for part in parts}) < 2:
        return choose(Mixture())
    chosen = _promising(_mixtures(choose, parts), parts, damages)
    if not chosen:
        return choose(Mixture())  # raises the reason
    lost = _Lost(counts, sweep, reconstruct)
    for mixture, ways in chosen.items():
        lost.of(mixture, ways, len(chosen))
    best = min(chosen, key=lambda mixture: lost.known[chosen[mixture]])
    if dropped_in(chosen[best]):
        plain = replace(best, drops=False)
        with suppress(InvalidInputError):
            chosen[plain] = tuple(choose(plain))
            lost.of(plain, chosen[plain], len(chosen))
    best = min(chosen, key=lambda mixture: lost.known[chosen[mixture]])
    numbers = {str(mixture): lost.known[ways] for mixture, ways in chosen.items()}
    counts.network.records.append(Applied("network", "mix", f"{best} is best", numbers))
    return list(chosen[best])


class _Lost:
    """Carries mixtures out and measures their damage.

    Attributes:
        known: The damage of ways; several mixtures may have the same.
    """

    def __init__(self, counts: Counts, sweep: Sweep, reconstruct: Reconstruct) -> None:
        fitting, self._judging = halves(sweep.batches)
        self._counts, self._sweep, self._tried = counts, sweep, 0
        self._reference = outputs_of(counts.network, self._judging)
        self._execution = Execution(fitting, None, sweep.refit, reconstruct)
        self.known: dict[tuple[Way, ...], float] = {}

    def of(self, mixture: Mixture, ways: tuple[Way, ...], total: int) -> None:
        """Measure the damage of a mixture.

        Args:
            mixture: The mixture.
            ways: Its ways.
            total: The number of mixtures.
        """
        if ways not in self.known:
            made = carry_out(self._counts, ways, self._execution)
            outputs = outputs_of(made, self._judging)
            self.known[ways] = damage(outputs, self._reference, self._sweep.metric)
        self._tried += 1
        if self._sweep.on_part is not None:
            record = Applied("network", "mix", str(mixture), {"damage": self.known[ways]})
            self._sweep.on_part(self._tried, total, record)


def _mixtures(
    choose: Callable[[Mixture], list[Way]], parts: Sequence[Part]
) -> dict[Mixture, tuple[Way, ...]]:
    """The ways for every weight; the budget may be too small for one kind alone."""
    kinds = {isinstance(part.ways[0], Pruned) for part in parts if not _drops(part)}
    found = dict[Mixture, tuple[Way, ...]]()
    for weight in WEIGHTS if len(kinds) > 1 else WEIGHTS[:1]:
        with suppress(InvalidInputError):
            found[Mixture(weight)] = tuple(choose(Mixture(weight)))
    return found


def _drops(part: Part) -> bool:
    return isinstance(part.ways[0], Dropped)


def _promising(
    chosen: Mapping[Mixture, tuple[Way, ...]], parts: Sequence[Part], damages: Damages
) -> dict[Mixture, tuple[Way, ...]]:
    """Leave out mixtures whose parts are damaged far more than those of another one."""
    known = {
        way: lost
        for part, each in zip(parts, damages, strict=True)
        for way, lost in zip(part.ways, each, strict=True)
    }
    expected = {m: sum(_expected(way, known) for way in ways) for m, ways in chosen.items()}
    least = min(expected.values(), default=0.0)
    return {m: ways for m, ways in chosen.items() if expected[m] <= _FAR * least}


def _expected(way: Way, known: Mapping[Way, float]) -> float:
    """The damage of a way, or of the one of the same group with about as many units."""
    if way in known or not isinstance(way, Pruned):
        return known[way]
    alike = [each for each in known if isinstance(each, Pruned) and each.group == way.group]
    return known[min(alike, key=lambda each: abs(sum(each.keep) - sum(way.keep)))]
