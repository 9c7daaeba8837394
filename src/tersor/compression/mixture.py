"""Finds the best mixture of pruning and factorization by trying it on the whole network.

    Ω_u ← w · Ω_u   for every group of channels u,   w ∈ {0, 1, 4, 16, ∞}

and the best of these again, where residual branches may be left out.

Parts are tried alone (`tersor.compression.sweep`), and their damages are additive unless the parts
overlap. Pruning and chains do overlap, as a pruned layer can also be factorized. So a few mixtures
are carried out: the first half of the samples fits them, and the other half determines which
mixture preserves the outputs best. With w = 0 channels are only pruned, and with w = ∞ layers are
only factorized. So on the samples that judge, the mixture is at least as good as either, and as one
that leaves out no branch.

This is an addition of Tersor. That the combination is best is a finding of arXiv 1912.09802.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from tersor.compression.counts import Counts
from tersor.compression.parts import Part
from tersor.compression.plan import Execution, carry_out
from tersor.compression.reconstruct import Reconstruct
from tersor.compression.sweep import Sweep, halves
from tersor.compression.ways import Dropped, Factored, Pruned, Way
from tersor.data.outputs.outputs import damage
from tersor.data.walk.one_at_a_time import outputs_of
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
        return f"{words}, branches left out" if self.drops else words


WEIGHTS = (1.0, 4.0, 16.0, inf, 0.0)
_FAR = 1.1  # times the damage that is expected of another mixture: not worth trying
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
    trial = _Trial(counts, sweep, reconstruct)
    kinds = {type(part.ways[0]) for part in parts}
    weights = WEIGHTS if kinds >= {Factored, Pruned} else WEIGHTS[:1]
    plain = _mixtures(choose, [Mixture(weight, drops=False) for weight in weights])
    trial.carry_out(_promising(plain, parts, damages))
    if Dropped in kinds:
        again = [trial.best.weight] if trial.chosen else weights
        trial.carry_out(_mixtures(choose, [Mixture(weight) for weight in again]))
    if not trial.chosen:
        return choose(Mixture())  # raises the reason
    counts.network.records.append(trial.record)
    return list(trial.chosen[trial.best])


class _Trial:
    """Carries mixtures out, and measures their damage.

    Attributes:
        chosen: The ways of each mixture.
        lost: The damage of ways; several mixtures may have the same.
    """

    def __init__(self, counts: Counts, sweep: Sweep, reconstruct: Reconstruct) -> None:
        fitting, self._judging = halves(sweep.batches)
        self._counts, self._sweep = counts, sweep
        self._reference = outputs_of(counts.network, self._judging, shelf=sweep.shelf)
        self._execution = Execution(fitting, None, sweep.refit, reconstruct, None, sweep.shelf)
        self.chosen: dict[Mixture, tuple[Way, ...]] = {}
        self.lost: dict[tuple[Way, ...], float] = {}

    def carry_out(self, mixtures: Mapping[Mixture, tuple[Way, ...]]) -> None:
        """Carry out some mixtures.

        Args:
            mixtures: The ways of each of them.
        """
        total = len(self.chosen) + len(mixtures)
        for mixture, ways in mixtures.items():
            if ways not in self.lost:
                made = carry_out(self._counts, ways, self._execution)
                outputs = outputs_of(made, self._judging, shelf=self._sweep.shelf)
                self.lost[ways] = damage(outputs, self._reference, self._sweep.metric)
            self.chosen[mixture] = ways
            if self._sweep.on_part is not None:
                record = Applied("network", "mix", str(mixture), {"damage": self.lost[ways]})
                self._sweep.on_part(len(self.chosen), total, record)

    @property
    def best(self) -> Mixture:
        """The mixture of least damage."""
        return min(self.chosen, key=lambda mixture: self.lost[self.chosen[mixture]])

    @property
    def record(self) -> Applied:
        """The damage of all mixtures, and which is best."""
        numbers = {str(mixture): self.lost[ways] for mixture, ways in self.chosen.items()}
        return Applied("network", "mix", f"{self.best} is best", numbers)


def _mixtures(
    choose: Callable[[Mixture], list[Way]], mixtures: Sequence[Mixture]
) -> dict[Mixture, tuple[Way, ...]]:
    """The ways of mixtures; the budget may be too small for some."""
    found = dict[Mixture, tuple[Way, ...]]()
    for mixture in mixtures:
        with suppress(InvalidInputError):
            found[mixture] = tuple(choose(mixture))
    return found


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
