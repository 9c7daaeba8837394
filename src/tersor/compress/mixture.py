"""How much of pruning and how much of factorization: the whole network decides.

    Ω_u ← w · Ω_u   for every group of channels u,   w of {0, 1, 4, 16, ∞}

Parts are tried alone (`tersor.compress.sweep`), and their damages add up as long as they do not
meet. Pruning and chains do: what pruning leaves of a layer is factorized. So a few mixtures are
carried out, the first half of the samples fits them, and the other half tells which of them keeps
the outputs best. With w = 0 channels are pruned only, with w = ∞ layers are factorized only: the
mixture is at least as good as either, on the samples that judge.

Own addition. That both together are best is a finding of arXiv 1912.09802.
"""

from collections.abc import Sequence
from math import inf

from tersor.compress.meter import Meter
from tersor.compress.plan import Fit, carry_out, ways_within
from tersor.compress.reconstruct import Reconstruct
from tersor.compress.sweep import Sweep, halves, outputs_of
from tersor.compress.ways import Part, Pruned, Way
from tersor.errors import InvalidInputError
from tersor.graph.network import Applied, Network
from tersor.graph.outputs import damage
from tersor.names import Rule

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


def best_weight(
    network: Network,
    parts: Sequence[Part],
    damages: Damages,
    budget: int,
    meter: Meter,
    rule: Rule,
    sweep: Sweep,
    reconstruct: Reconstruct,
) -> float:
    """The w whose mixture damages the outputs least; 1 if there is nothing to mix, or no data.

    Args:
        network: The network; it gets a record, and else stays as it is.
        parts: Its parts.
        damages: The damage of each of their ways.
        budget: What the network may cost.
        meter: What it is a budget of.
        rule: See `tersor.compress.budget`.
        sweep: How parts were tried; mixtures are tried alike.
        reconstruct: As in `Fit`.
    """
    kinds = {isinstance(part.ways[0], Pruned) for part in parts}
    if len(kinds) < 2 or not sweep.batches:
        return 1.0
    fitting, judging = halves(sweep.batches)
    reference = outputs_of(network, judging)
    fit, found = Fit(fitting, None, sweep.refit, reconstruct), dict[float, float]()
    known: dict[tuple[Way, ...], float] = {}  # the same ways may come of several weights
    for number, weight in enumerate(WEIGHTS):
        try:
            ways = ways_within(network, *weighed(parts, damages, weight), budget, meter, rule)
        except InvalidInputError:  # too small a budget for one kind alone
            continue
        if tuple(ways) not in known:
            mixture = network.copy()
            carry_out(mixture, ways, fit)
            known[*ways] = damage(outputs_of(mixture, judging), reference, sweep.metric)
        found[weight] = known[*ways]
        record = Applied("network", "mix", _words(weight), {"damage": found[weight]})
        if sweep.on_part is not None:
            sweep.on_part(number + 1, len(WEIGHTS), record)
    best = min(found, key=lambda weight: found[weight], default=1.0)
    if found:
        numbers = {_words(weight): lost for weight, lost in found.items()}
        network.records.append(Applied("network", "mix", f"{_words(best)} is best", numbers))
    return best


def _words(weight: float) -> str:
    alone = {0.0: "pruning alone", inf: "factorization alone"}
    return alone.get(weight, f"pruning weighed {weight:g} times")
