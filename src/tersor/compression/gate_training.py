"""Level 3: channels are chosen while the network is trained, by gates that learn to be noise.

    task loss + λ e^d Σ_u c_u complexity_u        c_u = ∂MACs / ∂u / MACs, as it is now
    λ ← λ · exp(haste · d / steps)                after each batch
    d = openness of the next unit to go − what it should be by now

VIBNet, arXiv 1802.10399; Bayesian compression, arXiv 1705.08665; L0, arXiv 1712.01312: see
`tersor.core.gates` for the gates and their complexities, `tersor.compression.counts` for MACs.

Noise of α costs about ½ α h_u, so that complexity and damage balance at log α = log λ + log c_u
− log h_u: with log λ, all log α move by as much, whatever the scale of the task loss. So d says how
far off λ is. And one λ for all is what a budget asks for: the units to go are those with the most
MACs for what they are worth.

Differs from the papers in: complexity is weighted by MACs, and λ follows a target of MACs, which
falls from 1 while training goes on. The least open units beyond the target are shut: they are
multiplied by 0, as in VIBNet's code (`masking`), so that nothing changes when they are removed. A
short training has no time for each of them to cross the threshold first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from tersor.checked import Positive, PositiveOrZero, Share, checked
from tersor.compression.channel_gates import Gate, gates
from tersor.compression.counts import Counts
from tersor.compression.groups import UnitMask, UnitMasks, UnitScores, channel_groups
from tersor.compression.prune import prune_groups
from tersor.compression.unit_choice import fit_macs, kept_above, least_score
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, per_input
from tersor.graph.network import Network, Record
from tersor.graph.nodes import operand, readers

_LOOKS = 1000  # at the gates, in a training: every batch, or every few of many
_FARTHEST = 3.0  # that one batch makes of d


@checked()
@dataclass(frozen=True)
class Gating:
    """How gates are trained. Nothing here depends on how long, nor on the learning rate.

    Attributes:
        start: log α at the start; see `Gates`.
        travel: How far log α can move in the whole training, all steps in one direction.
        strength: λ at the start.
        haste: See `GatePenalty`.
        margin: Idem.
        share: Of the training, that gates take part in; the rest is without them.
    """

    start: float | None = None
    travel: Positive = 20.0
    strength: Positive = 0.1
    haste: PositiveOrZero = 10.0
    margin: float = 2.0
    share: Share = 0.5


@dataclass(frozen=True)
class GatePenalty:
    """What gates add to the loss of a training.

    Attributes:
        counts: Of the network with gates; each of its groups has one.
        steps: Batches of the training.
        target: Share of the MACs that is to be left; None leaves it to the strength.
        strength: λ at the start; without a target it stays.
        haste: λ grows by e^haste in the whole training if d is 1 all the time.
        margin: How open the last unit that goes should be in the end. The papers have 0: its noise
            is as large as the signal, and that of many that stay not much smaller.
        departure: Share of the training after which the target begins to fall from 1.
        arrival: Share of the training after which it stays.
        multiple: How many units of a group are left is a multiple of it, where it has more.
    """

    counts: Counts
    steps: int
    target: float | None = 0.5
    strength: float = 0.1
    haste: float = 10.0
    margin: float = 2.0
    departure: float = 0.1
    arrival: float = 0.8
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.target is not None and not 0 < self.target <= 1:
            raise InvalidInputError(f"target={self.target} of the MACs; choose from above 0 to 1")

    def __call__(self, network: Network, progress: float) -> Float[Tensor, ""]:
        """The penalty.

        Args:
            network: The network in training, or a copy of it.
            progress: How far the training is, from 0 to 1.
        """
        found = {gate.name: gate for gate in gates(network)}
        every = max(self.steps // _LOOKS, 1)
        if round(progress * self.steps) % every == 0:
            self._look(found, progress, every)
        return torch.stack([g.pull * (g.costs @ g.complexity()) for g in found.values()]).sum()

    def parameters(self, module: nn.Module) -> list[nn.Parameter]:
        """Those of all gates: log α, whose steps do not depend on its size."""
        found = (x for x in module.modules() if isinstance(x, Gate))
        return [parameter for gate in found for parameter in gate.parameters()]

    def _look(self, found: Mapping[str, Gate], progress: float, every: int) -> None:
        """Shut what is too much by now, and see what the others cost and how they are to be pulled.

        This waits for the device, so it is not done in each of many batches.
        """
        if self.target is None:
            self._shut(found, _openness(found), 0.0)
            weight = self.strength
        else:
            now = 1 + (self.target - 1) * self._passed(progress, self.departure)
            weight = self._follow(found, now, self._passed(progress, 0.0), every)
        costs = self.counts.marginal({name: gate.stays.cpu() for name, gate in found.items()})
        for name, gate in found.items():
            gate.costs, gate.pull = costs[name].to(gate.costs), gate.pull.new_tensor(weight)

    def _passed(self, progress: float, begin: float) -> float:
        return min(max((progress - begin) / (self.arrival - begin), 0.0), 1.0)

    def _follow(self, found: Mapping[str, Gate], now: float, passed: float, every: int) -> float:
        """Shut what is too much for a share of MACs; returns the weight of the complexity."""
        state, openness = next(iter(found.values())), _openness(found)
        values, order = torch.cat([*openness.values()]).sort(stable=True)
        sizes = [len(part) for part in openness.values()]
        ranks = dict(zip(found, order.argsort().float().split(sizes), strict=True))
        last = least_score(ranks, self.counts, now, self.multiple)
        self._shut(found, ranks, last)
        border = float(values[int(max(last, 0))])
        if bool(state.border.isnan()):
            state.border.fill_(border)
            state.weight.fill_(self.strength)
        wanted = float(state.border) + (self.margin - float(state.border)) * passed
        off = min(max(border - wanted, -_FARTHEST), _FARTHEST)
        state.weight.mul_(math.exp(self.haste * off * every / self.steps))
        return float(state.weight) * math.exp(off)

    def _shut(self, found: Mapping[str, Gate], scores: UnitScores, last: float) -> None:
        """Shut all gates up to a score."""
        kept = kept_above(self.counts.groups.found, scores, last, self.multiple)
        for name, keep in kept.items():
            found[name].stays.copy_(keep)


def _openness(found: Mapping[str, Gate]) -> dict[str, Tensor]:
    return {name: gate.openness().detach().cpu() for name, gate in found.items()}


@torch.no_grad()
def units_kept(
    network: Network, target: float | None = None, multiple: int = 1
) -> dict[str, UnitMask]:
    """Name of a group → which of its units stay.

    Args:
        network: A network with gates.
        target: Share of the MACs to be left, in place of each gate's own threshold: the units most
            likely to stay do so, as many as fit.
        multiple: How many stay is a multiple of it, in groups of more units.

    Raises:
        InvalidInputError: The network has no gates.
        TooSmallError: The target cannot be reached.
    """
    likely = {gate.name: (gate.open() * gate.stays).cpu() for gate in gates(network)}
    if not likely:
        raise InvalidInputError("the network has no gates; put some in, with insert_gates")
    groups = channel_groups(network).named(likely)
    if target is None:
        return kept_above(groups.found, likely, 0.5, multiple)
    return fit_macs(likely, Counts(network, groups), target, multiple)


@torch.no_grad()
def remove_gates(network: Network, keep: UnitMasks | None = None) -> list[Record]:
    """Leave out the units whose gates are closed, and multiply the others into the weights.

    Args:
        network: Edited in place; then a smaller network without gates.
        keep: Which units stay; default: what `units_kept` gives.

    Returns:
        A record for each group; they are also among those of the network.

    Raises:
        InvalidInputError: The network has no gates.
    """
    keep = units_kept(network) if keep is None else keep
    _fold(network)
    return prune_groups(network, keep)


def _fold(network: Network) -> None:
    """Multiply the means of the gates into the weights that read them, each weight once."""
    done: set[tuple[str, fx.Node]] = set()
    for node in network.nodes():
        if node.op != "call_module":
            continue
        gate: Any = network.module.get_submodule(str(node.target))
        means = torch.cat([gate.means(), gate.means().new_ones(1)])
        for reader in readers(node):
            layer = Layer(reader, network)
            if (gate.name, layer.weight_node) not in done:
                done.add((gate.name, layer.weight_node))
                weight = layer.grouped_weight()
                factor = means[getattr(gate, f"channels_{node.args[1]}")]
                layer.set_grouped_weight(weight * per_input(factor, weight))
        node.replace_all_uses_with(operand(node))
        network.graph.erase_node(node)
    network.finish()
