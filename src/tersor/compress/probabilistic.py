"""Level 3: channels are chosen while the network is trained, by gates that learn to be noise.

    task loss + strength · mean complexity + ½ weight · (E[MACs] / MACs − target)²
    E[MACs] = Σ_layers MACs_l · mean P(input stays) · mean P(output stays)

VIBNet, arXiv 1802.10399; Bayesian compression, arXiv 1705.08665; L0, arXiv 1712.01312: see
`tersor.core.gates` for the gates and their complexities.

Differs from the papers in: the complexity only says which channels go, and how many go is set by
the last term; its target falls from 1 while training goes on. In the end the threshold between the
gates that stay and those that go is the one that meets the target.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, fx

from tersor.compress.gates import Gate, gates
from tersor.compress.groups import Groups, channel_groups
from tersor.compress.prune import prune_groups
from tersor.errors import InvalidInputError
from tersor.graph.describe import describe
from tersor.graph.layers import Layer, layers, operand, per_input
from tersor.graph.network import Network, Record, readers

Stays = Mapping[str, Float[Tensor, " units"] | Bool[Tensor, " units"]]


class Macs:
    """The MACs of a network for one sample, by how likely each unit of its groups is to stay.

    Attributes:
        total: All of them, if every unit stays.
    """

    def __init__(self, network: Network) -> None:
        groups = channel_groups(network)
        self._names = [group.name for group in groups.found]
        places = _places(groups)
        into = {port.layer.node: places[port.classes] for port in groups.partition.consumers}
        out = {port.layer.node: places[port.classes] for port in groups.partition.producers}
        stored = [layer for layer in layers(network) if layer.weight_node.op == "get_attr"]
        self._costs: list[tuple[int, Tensor, Tensor]] = []
        for layer, row in zip(stored, describe(network), strict=True):
            always = places.new_full((1,), -1)
            reads = always if layer.is_depthwise else into.get(layer.node, always)
            self._costs.append((row.macs, reads, out.get(layer.node, always)))
        self.total = sum(macs for macs, _, _ in self._costs)

    def expected(self, stays: Stays) -> Float[Tensor, ""]:
        """E[MACs] / MACs: exact where every unit stays or goes; else as if units were independent.

        Args:
            stays: Name of a group → how likely each of its units is to stay, or whether it does.
        """
        found = [stays[name] for name in self._names]
        likely = torch.cat([*found, found[0].new_ones(1)])
        likely = likely if likely.is_floating_point() else likely.double()
        parts = [macs * likely[i].mean() * likely[o].mean() for macs, i, o in self._costs]
        return torch.stack(parts).sum() / self.total


def _places(groups: Groups) -> Int[Tensor, " classes"]:
    """The place of each class among the units of all groups; −1 for those that stay anyway."""
    places = torch.full((groups.partition.count,), -1)
    count = 0
    for group in groups.found:
        places[group.units] = torch.arange(count, count + len(group))
        count += len(group)
    return places


@dataclass(frozen=True)
class GatePenalty:
    """What gates add to the loss of a training.

    Attributes:
        macs: The MACs of the network with gates.
        target: Share of the MACs that is to be left; None leaves it to the strength.
        strength: Of the mean complexity of all units.
        weight: Of half the squared distance to the target.
        arrival: Share of the training in which the target falls from 1 to where it stays.
    """

    macs: Macs
    target: float | None = 0.5
    strength: float = 0.01
    weight: float = 10.0
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
            penalty = penalty + self.weight / 2 * (expected_macs(self.macs, found) - now).square()
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
        InvalidInputError: The network has no gates.
    """
    found = list(gates(network))
    if not found:
        raise InvalidInputError("the network has no gates; put some in, with insert_gates")
    likely = {gate.name: gate.open().cpu() for gate in found}
    groups, macs = channel_groups(network), Macs(network)

    def kept(least: float) -> dict[str, Bool[Tensor, " units"]]:
        return {name: groups[name].complete(p > least, p) for name, p in likely.items()}

    least = 0.5
    if target is not None:
        least = _lowest(likely, lambda threshold: float(macs.expected(kept(threshold))) <= target)
    keep = kept(least)
    _fold(network)
    return prune_groups(network, keep)


def _lowest(likely: Stays, fits: Callable[[float], bool]) -> float:
    """The lowest threshold that fits, by bisection; the highest if none does."""
    steps = torch.cat([torch.zeros(1), *likely.values()]).unique().tolist()
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        if fits(steps[middle]):
            high = middle
        else:
            low = middle + 1
    return steps[low]


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
