"""Finds the best mixture of pruning and factorization by trying it on the whole network.

    Ω_u ← w · Ω_u   for every group of channels u,   w ∈ {0, 1, 4, 16, ∞}

Parts are tried alone (`tersor.compression.sweep`), and their damages are additive unless the parts
overlap. Pruning and chains do overlap, as a pruned layer can also be factorized. So a few mixtures
are carried out: the first half of the samples fits them, and the other half determines which
mixture preserves the outputs best. With w = 0 channels are only pruned, and with w = ∞ layers are
only factorized. So on the samples that judge, the mixture is at least as good as either.

This is an addition of Tersor. That the combination is best is a finding of arXiv 1912.09802.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf

from tersor.compression.counts import Counts
from tersor.compression.parts import Part
from tersor.compression.plan import Execution, carry_out
from tersor.compression.reconstruct import Reconstruct
from tersor.compression.sweep import Sweep, halves
from tersor.compression.ways import Pruned, Way
from tersor.data.one_at_a_time import outputs_of
from tersor.data.outputs import damage
from tersor.errors import InvalidInputError
from tersor.graph.network import Applied

WEIGHTS = (1.0, 4.0, 16.0, inf, 0.0)
_FAR = 2.0  # times the damage that is expected of another mixture: not worth trying
Damages = Sequence[tuple[float, ...]]


def weighed(parts: Sequence[Part], damages: Damages, weight: float) -> tuple[list[Part], Damages]:
    """Select the parts of a mixture, and weight their damages.

    Args:
        parts: All parts.
        damages: The damage of each of their ways.
        weight: w.
    """
    kept, found = [], []
    for part, lost in zip(parts, damages, strict=True):
        pruned = isinstance(part.ways[0], Pruned)
        if weight == (inf if pruned else 0.0):
            continue
        kept.append(part)
        found.append(tuple(weight * x for x in lost) if pruned and weight else lost)
    return kept, found


def best_mixture(
    counts: Counts,
    parts: Sequence[Part],
    damages: Damages,
    choose: Callable[[float], list[Way]],
    sweep: Sweep,
    reconstruct: Reconstruct,
) -> list[Way]:
    """Choose the mixture of least damage; w = 1 if there is nothing to mix, or no data.

    Args:
        counts: The counts of the network, which gets a record, but is not changed otherwise.
        parts: Its parts.
        damages: The damage of each of their ways.
        choose: Returns the ways for a weight w that fit into the budget.
        sweep: How parts were tried; mixtures are tried in the same manner.
        reconstruct: As in `Execution`.

    Raises:
        InvalidInputError: No mixture fits into the budget.
    """
    kinds = {isinstance(part.ways[0], Pruned) for part in parts}
    if len(kinds) < 2 or not sweep.batches:
        return choose(1.0)
    chosen = _promising(_mixtures(choose), parts, damages)
    if not chosen:
        return choose(1.0)  # raises the reason
    fitting, judging = halves(sweep.batches)
    reference = outputs_of(counts.network, judging)
    execution = Execution(fitting, None, sweep.refit, reconstruct)
    lost: dict[tuple[Way, ...], float] = {}  # several weights may give the same ways
    for number, (weight, ways) in enumerate(chosen.items()):
        if ways not in lost:
            mixture = carry_out(counts, ways, execution)
            lost[ways] = damage(outputs_of(mixture, judging), reference, sweep.metric)
        if sweep.on_part is not None:
            record = Applied("network", "mix", _words(weight), {"damage": lost[ways]})
            sweep.on_part(number + 1, len(chosen), record)
    best = min(chosen, key=lambda weight: lost[chosen[weight]])
    numbers = {_words(weight): lost[ways] for weight, ways in chosen.items()}
    record = Applied("network", "mix", f"{_words(best)} is best", numbers)
    counts.network.records.append(record)
    return list(chosen[best])


def _mixtures(choose: Callable[[float], list[Way]]) -> dict[float, tuple[Way, ...]]:
    """The ways for every weight; the budget may be too small for one kind alone."""
    found = dict[float, tuple[Way, ...]]()
    for weight in WEIGHTS:
        with suppress(InvalidInputError):
            found[weight] = tuple(choose(weight))
    return found


def _promising(
    chosen: Mapping[float, tuple[Way, ...]], parts: Sequence[Part], damages: Damages
) -> dict[float, tuple[Way, ...]]:
    """Leave out mixtures whose parts are damaged far more than those of another one."""
    known = {
        way: lost
        for part, each in zip(parts, damages, strict=True)
        for way, lost in zip(part.ways, each, strict=True)
    }
    expected = {w: sum(_expected(way, known) for way in ways) for w, ways in chosen.items()}
    least = min(expected.values(), default=0.0)
    return {w: ways for w, ways in chosen.items() if expected[w] <= _FAR * least}


def _expected(way: Way, known: Mapping[Way, float]) -> float:
    """The damage of a way, or of the one of the same group with about as many units."""
    if way in known or not isinstance(way, Pruned):
        return known[way]
    alike = [each for each in known if isinstance(each, Pruned) and each.group == way.group]
    return known[min(alike, key=lambda each: abs(sum(each.keep) - sum(way.keep)))]


def _words(weight: float) -> str:
    alone = {0.0: "pruning alone", inf: "factorization alone"}
    return alone.get(weight, f"damage of pruning weighted by {weight:g}")
