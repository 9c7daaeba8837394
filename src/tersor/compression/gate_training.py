"""Level 3: gates choose channels during training; those that turn into noise are closed.

    task loss + λ e^d Σ_u c_u complexity_u        c_u = ∂MACs / ∂u / MACs, as it is now
    λ ← λ · exp(growth · d / steps)               after each batch
    d = openness of the next unit to be pruned − its intended openness at this time

The methods are VIBNet, arXiv 1802.10399, Bayesian compression, arXiv 1705.08665, and L0, arXiv
1712.01312. The gates and their complexities are in `tersor.core.random_gates`, the MACs in
`tersor.compression.counts`.

Noise of relative variance α costs about ½ α h_u, so that complexity and damage balance at log α =
log λ + log c_u − log h_u. If log λ changes, every log α changes by the same amount, whatever the
scale of the task loss. So d measures how far λ is off. A budget calls for the same λ for all units:
it prunes the units that cost the most MACs for their importance.

Differs from the papers in: complexity is weighted by MACs, and λ follows a target for the MACs,
which falls from 1 during training. The least open units beyond the target are closed: they are
multiplied by 0, as in VIBNet's code (`masking`), so that nothing changes when they are removed. A
short training run has no time for each of them to cross its own threshold.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from tersor.checked import Part, Positive, PositiveOrZero, Share, checked
from tersor.compression.channel_gates import Gate, gates
from tersor.compression.counts import Counts
from tersor.compression.groups import UnitMask, UnitMasks, UnitScores, channel_groups
from tersor.compression.prune import prune_groups
from tersor.compression.unit_choice import fit_macs, kept_above, least_score
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, per_input
from tersor.graph.network import Network, Record
from tersor.graph.nodes import operand, readers

_LOOKS = 1000  # updates of λ in a training run: after every batch, or after every few
_FARTHEST = 3.0  # largest |d| that counts


@checked()
@dataclass(frozen=True)
class Gating:
    """How gates are trained. No option depends on the training length or the learning rate.

    Attributes:
        start: Initial log α; see `Gates`.
        largest_move: How far log α can move in the whole training, if all steps have the same
            direction.
        strength: Initial λ.
        strength_growth: How fast λ follows the target: it grows by a factor of e^strength_growth
            in the whole training if d is always 1.
        border_openness: Intended final openness of the last unit to be pruned, so that those that
            stay are clearly open; see `GatePenalty`.
        share: Share of the training with gates; the rest is without them.
        others: Share of the reduction, of log MACs, that other methods make first, if there are
            any: of half of the MACs, these then make 0.59, and gates 0.84 of that.
    """

    start: float | None = None
    largest_move: Positive = 20.0
    strength: Positive = 0.1
    strength_growth: PositiveOrZero = 10.0
    border_openness: float = 2.0
    share: Share = 0.5
    others: Part = 0.75


@dataclass(frozen=True)
class GatePenalty:
    """The penalty that gates add to the training loss.

    Attributes:
        counts: The counts of the network with gates; each of its groups has one.
        steps: Number of batches of the training.
        target: Share of the MACs that may remain. With None, only the strength decides.
        strength: Initial λ; without a target it is constant.
        strength_growth: λ grows by a factor of e^strength_growth in the whole training if d is
            always 1.
        border_openness: Intended final openness of the last unit to be pruned. The papers have 0:
            its noise is then as large as the signal, and the noise of many units that stay is
            not much smaller.
        departure: Share of the training after which the target begins to fall from 1.
        arrival: Share of the training after which the target is constant.
        multiple: A group with more units than this keeps a multiple of it.
    """

    counts: Counts
    steps: int
    target: float | None = 0.5
    strength: float = 0.1
    strength_growth: float = 10.0
    border_openness: float = 2.0
    departure: float = 0.1
    arrival: float = 0.8
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.target is not None and not 0 < self.target <= 1:
            raise InvalidInputError(
                f"target={self.target} is not a share of the MACs; give one above 0, up to 1"
            )

    def __call__(self, network: Network, progress: float) -> Float[Tensor, ""]:
        """Compute the penalty.

        Args:
            network: The network in training, or a copy of it.
            progress: Progress of the training, from 0 to 1.
        """
        found = {gate.name: gate for gate in gates(network)}
        every = max(self.steps // _LOOKS, 1)
        if round(progress * self.steps) % every == 0:
            self._look(found, progress, every)
        return torch.stack([g.pull * (g.costs @ g.complexity()) for g in found.values()]).sum()

    def parameters(self, module: nn.Module) -> list[nn.Parameter]:
        """The parameters of all gates: log α, whose step size does not depend on its magnitude."""
        found = (x for x in module.modules() if isinstance(x, Gate))
        return [parameter for gate in found for parameter in gate.parameters()]

    def _look(self, found: Mapping[str, Gate], progress: float, every: int) -> None:
        """Close units beyond the current target, and update the cost and the pull of the others.

        This waits for the device, so in a long training it is not done for every batch.
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
        """Close units beyond a share of the MACs, and return the weight of the complexity."""
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
        wanted = float(state.border) + (self.border_openness - float(state.border)) * passed
        off = min(max(border - wanted, -_FARTHEST), _FARTHEST)
        state.weight.mul_(math.exp(self.strength_growth * off * every / self.steps))
        return float(state.weight) * math.exp(off)

    def _shut(self, found: Mapping[str, Gate], scores: UnitScores, last: float) -> None:
        """Close all gates up to a score."""
        kept = kept_above(self.counts.groups.found, scores, last, self.multiple)
        for name, keep in kept.items():
            found[name].stays.copy_(keep)


def _openness(found: Mapping[str, Gate]) -> dict[str, Tensor]:
    return {name: gate.openness().detach().cpu() for name, gate in found.items()}


@torch.no_grad()
def units_kept(
    network: Network, target: float | None = None, multiple: int = 1
) -> dict[str, UnitMask]:
    """Find the units that stay, as a mask for each group, by name.

    Args:
        network: A network with gates.
        target: Share of the MACs that may remain. It replaces the threshold of each gate: the units
            that are most likely to stay are kept, as many as fit.
        multiple: A group with more units than this keeps a multiple of it.

    Raises:
        InvalidInputError: The network has no gates.
        TooSmallError: The target cannot be reached.
    """
    likely = {gate.name: (gate.open() * gate.stays).cpu() for gate in gates(network)}
    if not likely:
        raise InvalidInputError("the network has no gates; call insert_gates first")
    groups = channel_groups(network).named(likely)
    if target is None:
        return kept_above(groups.found, likely, 0.5, multiple)
    return fit_macs(likely, Counts(network, groups), target, multiple)


@torch.no_grad()
def remove_gates(network: Network, keep: UnitMasks | None = None) -> list[Record]:
    """Prune the units whose gates are closed, and fold the other gates into the weights.

    Args:
        network: Edited in place. It becomes a smaller network without gates.
        keep: The units that stay. Default: the result of `units_kept`.

    Returns:
        A record for each group; the records of the network contain them, too.

    Raises:
        InvalidInputError: The network has no gates.
    """
    keep = units_kept(network) if keep is None else keep
    _fold(network)
    return prune_groups(network, keep)


def _fold(network: Network) -> None:
    """Multiply the weights that read gates by the means of these, each weight once."""
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
