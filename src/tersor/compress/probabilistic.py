"""Level 3: channels are chosen while the network is trained, by gates that learn to be noise.

    task loss + strength · mean complexity + ½ weight · excess²,  excess = E[MACs] / MACs − target
    weight ← weight · exp(haste · |excess|)                       after each batch

VIBNet, arXiv 1802.10399; Bayesian compression, arXiv 1705.08665; L0, arXiv 1712.01312: see
`tersor.core.gates` for the gates and their complexities, `tersor.compress.macs` for E[MACs].

Differs from the papers in: the complexity only says which channels go; how many go is set by a
target of MACs, which falls from 1 while training goes on. Its weight grows for as long as the
target is missed, so that it suits any scale of the task loss. In the end the threshold between the
gates that stay and those that go is the one that meets the target.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.compress.gates import Gate, gates
from tersor.compress.groups import channel_groups
from tersor.compress.macs import Macs, fit_macs
from tersor.compress.prune import prune_groups
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, operand, per_input
from tersor.graph.network import Network, Record, readers


@dataclass(frozen=True)
class Gating:
    """How gates are trained.

    Attributes:
        start: log α at the start; see `Gates`.
        speed: How many times faster than weights it is learned; idem.
        strength: Weight of their mean complexity in the loss.
        haste: How fast the weight of the budget grows while it is missed.
        share: Of the training, that gates take part in; the rest is without them.
    """

    start: float | None = None
    speed: float = 10.0
    strength: float = 0.01
    haste: float = 0.5
    share: float = 0.5


@dataclass(frozen=True)
class GatePenalty:
    """What gates add to the loss of a training.

    Attributes:
        macs: The MACs of the network with gates.
        target: Share of the MACs that is to be left; None leaves it to the strength.
        strength: Of the mean complexity of all units.
        haste: How fast the weight of the target grows.
        arrival: Share of the training in which the target falls from 1 to where it stays.
    """

    macs: Macs
    target: float | None = 0.5
    strength: float = 0.01
    haste: float = 0.5
    arrival: float = 0.7

    def __post_init__(self) -> None:
        if self.target is not None and not 0 < self.target <= 1:
            raise InvalidInputError(f"target={self.target} of the MACs; choose from above 0 to 1")

    def __call__(self, network: Network, progress: float) -> Float[Tensor, ""]:
        """The penalty.

        Args:
            network: The network in training, or a copy of it.
            progress: How far the training is, from 0 to 1.
        """
        found = list(gates(network))
        penalty = self.strength * torch.cat([gate.complexity() for gate in found]).mean()
        if self.target is not None:
            now = 1 + (self.target - 1) * min(progress / self.arrival, 1)
            excess = expected_macs(self.macs, found) - now
            penalty = penalty + found[0].weight.clone() / 2 * excess.square()
            for gate in found:
                gate.weight.mul_((self.haste * excess.detach().abs()).exp())
        return penalty


def expected_macs(macs: Macs, found: list[Gate]) -> Float[Tensor, ""]:
    """E[MACs] / MACs by the gates.

    Args:
        macs: Of the network with gates.
        found: The gates.
    """
    return macs.expected({gate.name: gate.open() for gate in found})


@torch.no_grad()
def remove_gates(network: Network, target: float | None = None) -> list[Record]:
    """Leave out the units whose gates are closed, and multiply the others into the weights.

    Args:
        network: Edited in place; then a smaller network without gates.
        target: Share of the MACs to be left, in place of each gate's own threshold: the units most
            likely to stay do so, as many as fit.

    Returns:
        A record for each group; they are also among those of the network.

    Raises:
        InvalidInputError: The network has no gates, or the target cannot be reached.
    """
    found = list(gates(network))
    if not found:
        raise InvalidInputError("the network has no gates; put some in, with insert_gates")
    likely = {gate.name: gate.open().cpu() for gate in found}
    groups = channel_groups(network).found
    if target is None:
        keep = {g.name: g.complete(likely[g.name] > 0.5, likely[g.name]) for g in groups}
    else:
        keep = fit_macs(groups, likely, Macs(network), target)
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
