"""Groups of coupled channels, from which channel pruning chooses.

A unit is a class of channels that can only be pruned together (`tersor.channels.removal`): one
output channel of each layer whose outputs a residual addition joins, with everything that reads
them. A group contains the units to which the same layers contribute one channel each. The units of
a group are pruned independently, and so are the groups.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tersor.channels.labels import StoredAxis
from tersor.channels.partition import Port
from tersor.channels.removal import Removal, in_copy, removal
from tersor.graph.network import Network, Skipped

UnitMask = Bool[Tensor, " units"]  # of one group: which of its units stay
UnitMasks = Mapping[str, UnitMask]  # by the name of the group
UnitScores = Mapping[str, Float[Tensor, " units"]]


@dataclass(frozen=True)
class Group:
    """Channels of which some can be pruned.

    Attributes:
        name: The first layer that computes them.
        units: The class of each unit.
        producers: The layers that compute them, with the class of each of their outputs.
        consumers: The layers that read them, with the class of each of their inputs.
        stored: The stored tensors that have these channels along an axis, with the classes along
            it.
        needs: Sets of units; at least one unit of each set must stay.
    """

    name: str
    units: Int[Tensor, " units"]
    producers: tuple[Port, ...] = field(repr=False)
    consumers: tuple[Port, ...] = field(repr=False)
    stored: tuple[StoredAxis, ...] = field(repr=False)
    needs: tuple[Int[Tensor, "_"], ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.units)

    def places(self, classes: Int[Tensor, " channels"]) -> Int[Tensor, " channels"]:
        """Find the number of the unit of each channel; −1 for channels of other groups.

        Args:
            classes: The classes of some channels.
        """
        found = torch.searchsorted(self.units, classes).clamp(max=len(self.units) - 1)
        return torch.where(self.units[found] == classes, found, -1)

    @property
    def readers(self) -> list[Port]:
        """The layers that read the group, except depthwise ones, which pass each channel on."""
        return [port for port in self.consumers if not port.layer.is_depthwise]

    @property
    def layers(self) -> list[str]:
        """The names of the layers that compute or read the group."""
        return list(dict.fromkeys(port.layer.name for port in (*self.producers, *self.readers)))

    def block(self, multiple: int) -> int:
        """The multiple that the number of kept units must be; 1 for a group with too few units.

        Args:
            multiple: The requested multiple.
        """
        return multiple if len(self) > multiple else 1

    def best(self, scores: Float[Tensor, " units"], count: int) -> Bool[Tensor, " units"]:
        """Keep the units with the highest scores, and those that the network needs.

        Args:
            scores: One for each unit.
            count: How many to keep; at least one channel of every value stays.
        """
        keep = self.complete(torch.zeros(len(self), dtype=torch.bool), scores)
        order = scores.argsort(descending=True, stable=True)
        rest = order[~keep[order]][: max(count - int(keep.sum()), 0)]
        keep[rest] = True
        return keep

    def complete(
        self, keep: Bool[Tensor, " units"], scores: Float[Tensor, " units"]
    ) -> Bool[Tensor, " units"]:
        """Add the best unit of every set in `needs` of which no unit stays.

        Args:
            keep: Which units stay.
            scores: One for each unit.
        """
        keep = keep.clone()
        for need in self.needs:
            if not bool(keep[need].any()):
                keep[need[scores[need].argmax()]] = True
        return keep


@dataclass(frozen=True)
class Groups:
    """All groups of a network.

    Attributes:
        found: The groups, in the order of their first layers.
        refused: The layers whose output channels must all stay, with the reason.
        partition: The classes of channels from which the groups are formed.
    """

    found: list[Group]
    refused: list[Skipped]
    partition: Removal = field(repr=False)

    def __getitem__(self, name: str) -> Group:
        return next(group for group in self.found if group.name == name)

    def apart_from(self, layers: Collection[str]) -> "Groups":
        """Drop the groups whose channels certain layers compute or read.

        Args:
            layers: The names of these layers.
        """
        found = [group for group in self.found if not set(layers).intersection(group.layers)]
        return replace(self, found=found)

    def named(self, names: Collection[str]) -> "Groups":
        """Select groups by name.

        Args:
            names: The names.
        """
        return replace(self, found=[group for group in self.found if group.name in names])

    def in_copy(self, network: Network) -> "Groups":
        """Transfer the groups to a copy of their network, to prune the copy.

        Args:
            network: The copy, not edited yet.
        """
        return replace(self, partition=in_copy(self.partition, network))


def channel_groups(network: Network) -> Groups:
    """Find the groups of channels that can be pruned.

    Args:
        network: A network without quantizers.
    """
    partition = removal(network)
    owner = _owners(partition)
    members: dict[int, list[Port]] = {}
    refused = []
    for port in partition.producers:
        free = [c for c in port.classes.tolist() if c not in partition.frozen]
        if free:
            members.setdefault(owner[free[0]], []).append(port)
        else:
            reason = partition.frozen[int(port.classes[0])]
            refused.append(Skipped(port.layer.name, "prune", reason))
    found = [_group(partition, ports) for ports in members.values()]
    return Groups([group for group in found if len(group) > 1], refused, partition)


def _owners(partition: Removal) -> dict[int, int]:
    """Map each class to the first class of its group; a layer's output classes share a group."""
    owner: dict[int, int] = {}

    def first(index: int) -> int:
        while owner.setdefault(index, index) != index:
            index = owner[index]
        return index

    for port in partition.producers:
        free = [c for c in port.classes.tolist() if c not in partition.frozen]
        for index in free:
            low, high = sorted((first(free[0]), first(index)))
            owner[high] = low
    return {index: first(index) for index in list(owner)}


def _group(partition: Removal, producers: list[Port]) -> Group:
    made = {c for port in producers for c in port.classes.tolist()}
    units = torch.tensor(sorted(made - partition.frozen.keys()))
    of_group = set(units.tolist())
    consumers = [p for p in partition.consumers if of_group & set(p.classes.tolist())]
    place = {unit: number for number, unit in enumerate(units.tolist())}
    needs = [need for need in partition.needs if need <= of_group]
    numbers = [torch.tensor(sorted(place[unit] for unit in need)) for need in needs]
    places = {(str(s.node.target), s.axis): s for s in partition.stored}
    stored = [s for s in places.values() if of_group & set(s.channels.tolist())]
    ends = tuple(producers), tuple(consumers), tuple(stored)
    return Group(producers[0].layer.name, units, *ends, tuple(numbers))
