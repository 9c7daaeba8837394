"""How much of pruning and how much of factorization: the whole network decides.

    Ω_u ← w · Ω_u   for every group of channels u,   w of {0, 1, 4, 16, ∞}

Parts are tried alone (`tersor.compression.sweep`), and their damages add up as long as they do not
meet. Pruning and chains do: what pruning leaves of a layer is factorized. So a few mixtures are
carried out, the first half of the samples fits them, and the other half tells which of them keeps
the outputs best. With w = 0 channels are pruned only, with w = ∞ layers are factorized only: the
mixture is at least as good as either, on the samples that judge.

Own addition. That both together are best is a finding of arXiv 1912.09802.
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

WEIGHTS = (1.0, 4.0, 16.0, inf, 0.0)
Damages = Sequence[tuple[float, ...]]


def weighed(parts: Sequence[Part], damages: Damages, weight: float) -> tuple[list[Part], Damages]:
    """The parts that a mixture is made of, and their damages.

    Args:
        parts: All parts.
        damages: Of each of their ways.
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
    """The mixture that damages the outputs least; w = 1 if there is nothing to mix, or no data.

    Args:
        counts: Of the network, which gets a record, and else stays as it is.
        parts: Its parts.
        choose: The ways that a weight w makes fit into the budget.
        sweep: How parts were tried; mixtures are tried alike.
        reconstruct: As in `Execution`.

    Raises:
        InvalidInputError: No mixture fits into the budget.
    """
    kinds = {isinstance(part.ways[0], Pruned) for part in parts}
    if len(kinds) < 2 or not sweep.batches:
        return choose(1.0)
    fitting, judging = halves(sweep.batches)
    reference, chosen = outputs_of(counts.network, judging), dict[float, tuple[Way, ...]]()
    execution = Execution(fitting, None, sweep.refit, reconstruct)
    lost: dict[tuple[Way, ...], float] = {}  # the same ways may come of several weights
    for number, weight in enumerate(WEIGHTS):
        try:
            ways = tuple(choose(weight))
        except InvalidInputError:  # too small a budget for one kind alone
            continue
        if ways not in lost:
            mixture = carry_out(counts, ways, execution)
            lost[ways] = damage(outputs_of(mixture, judging), reference, sweep.metric)
        chosen[weight] = ways
        if sweep.on_part is not None:
            record = Applied("network", "mix", _words(weight), {"damage": lost[ways]})
            sweep.on_part(number + 1, len(WEIGHTS), record)
    if not chosen:
        return choose(1.0)  # which says why
    best = min(chosen, key=lambda weight: lost[chosen[weight]])
    numbers = {_words(weight): lost[ways] for weight, ways in chosen.items()}
    record = Applied("network", "mix", f"{_words(best)} is best", numbers)
    counts.network.records.append(record)
    return list(chosen[best])


def _words(weight: float) -> str:
    alone = {0.0: "pruning alone", inf: "factorization alone"}
    return alone.get(weight, f"pruning weighed {weight:g} times")
