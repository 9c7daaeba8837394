"""Finds the best mixture of pruning and factorization by trying it on the whole network.

    Ω_u ← w · Ω_u   for every group of channels u,   w ∈ {0, 1, 4, 16, ∞}

Parts are tried alone (`tersor.compression.sweep`), and their damages are additive unless the parts
overlap. Pruning and chains do overlap, as a pruned layer can also be factorized. So a few mixtures
are carried out: the first half of the samples fits them, and the other half determines which
mixture preserves the outputs best. With w = 0 channels are only pruned, and with w = ∞ layers are
only factorized. Weights are tried from w = 4 on, as long as the damage falls.

This is an addition of Tersor. That the combination is best is a finding of arXiv 1912.09802.
"""

from collections.abc import Callable, Sequence
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

WEIGHTS = (0.0, 1.0, 4.0, 16.0, inf)
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
    choose: Callable[[float], list[Way]],
    sweep: Sweep,
    reconstruct: Reconstruct,
) -> list[Way]:
    """Choose the mixture of least damage; w = 1 if there is nothing to mix, or no data.

    Args:
        counts: The counts of the network, which gets a record, but is not changed otherwise.
        parts: Its parts.
        choose: Returns the ways for a weight w that fit into the budget.
        sweep: How parts were tried; mixtures are tried in the same manner.
        reconstruct: As in `Execution`.

    Raises:
        InvalidInputError: No mixture fits into the budget.
    """
    kinds = {isinstance(part.ways[0], Pruned) for part in parts}
    if len(kinds) < 2 or not sweep.batches:
        return choose(1.0)
    fitting, judging = halves(sweep.batches)
    reference, lost = outputs_of(counts.network, judging), dict[tuple[Way, ...], float]()
    execution = Execution(fitting, None, sweep.refit, reconstruct)
    chosen = dict[float, tuple[Way, ...]]()

    def damage_at(weight: float) -> float:
        if weight not in chosen:
            try:
                ways = chosen[weight] = tuple(choose(weight))
            except InvalidInputError:  # the budget is too small for one kind alone
                return inf
            if ways not in lost:  # several weights may give the same ways
                mixture = carry_out(counts, ways, execution)
                lost[ways] = damage(outputs_of(mixture, judging), reference, sweep.metric)
            if sweep.on_part is not None:
                record = Applied("network", "mix", words(weight), {"damage": lost[ways]})
                sweep.on_part(len(chosen), len(WEIGHTS), record)
        return lost[chosen[weight]]

    best = lowest(damage_at)
    if not chosen:
        return choose(1.0)  # raises the reason
    numbers = {words(weight): lost[chosen[weight]] for weight in WEIGHTS if weight in chosen}
    record = Applied("network", "mix", f"{words(best)} is best", numbers)
    counts.network.records.append(record)
    return list(chosen[best])


def lowest(damage_at: Callable[[float], float]) -> float:
    """Find the weight of least damage: from the middle on, as long as the damage falls.

    Args:
        damage_at: The damage of a mixture.
    """
    place = len(WEIGHTS) // 2
    here, above = (damage_at(WEIGHTS[each]) for each in (place, place + 1))
    step = 1 if above < here else -1
    while 0 <= place + step < len(WEIGHTS):
        there = damage_at(WEIGHTS[place + step])
        if there >= here:
            break
        place, here = place + step, there
    return WEIGHTS[place]


def words(weight: float) -> str:
    """How records call a mixture.

    Args:
        weight: w.
    """
    alone = {0.0: "pruning alone", inf: "factorization alone"}
    return alone.get(weight, f"damage of pruning weighted by {weight:g}")
