"""Finds the channels of a network that can only be removed together.

Labels work as for rescaling (`tersor.channels.partition`), with other rules
(`tersor.channels.removal_rules`). The result is a partition of all channels into classes that can
only be removed together; removing one is the same as setting all weights that read it to zero.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Int
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.channels.labels import Labels, StoredAxis, along
from tersor.channels.partition import Port, components
from tersor.channels.removal_rules import left_out, varying
from tersor.channels.rescaling import trace
from tersor.graph.network import Network


@dataclass(frozen=True)
class Slots:
    """The one axis of a value along which its channels lie.

    Attributes:
        axis: The axis, counted from the front.
        classes: The class at each position.
    """

    axis: int
    classes: Int[Tensor, " places"]


@dataclass
class Removal:
    """The partition of all channels of a network into classes that are removed together.

    Attributes:
        count: Number of classes.
        producers: Output sides of layers.
        consumers: Input sides of layers.
        stored: Stored tensors, with classes in place of labels.
        frozen: Class → why it must stay; absent if it can go.
        values: Node → where the channels of its value lie; for a list of tensors, a list.
        needs: Sets of classes of which one must stay, each with a node that would be empty.
    """

    count: int
    producers: list[Port] = field(default_factory=list)
    consumers: list[Port] = field(default_factory=list)
    stored: list[StoredAxis] = field(default_factory=list)
    frozen: dict[int, str] = field(default_factory=dict)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    needs: dict[frozenset[int], fx.Node] = field(default_factory=dict)


def removal(network: Network) -> Removal:
    """Partition the channels of all layers into classes that can only be removed together.

    Args:
        network: The network, without quantizers.
    """
    labels = trace(network, left_out)
    _join_readers(labels)
    count, classes = components(labels)
    result = Removal(count)
    result.producers = [Port(layer, classes[ids]) for layer, ids in labels.produced]
    result.consumers = [Port(layer, classes[ids]) for layer, ids in labels.consumed]
    result.stored = [
        StoredAxis(s.node, s.axis, classes[s.channels], s.reader) for s in labels.stored
    ]
    for label, reason in labels.frozen.items():
        result.frozen.setdefault(int(classes[label]), reason)
    for node, value in labels.of.items():
        if node not in labels.constant:
            result.values[node] = pytree.tree_map(lambda part: _slots(part, classes), value)
    _find_needs(result)
    return result


def in_copy(found: Removal, network: Network) -> Removal:
    """The same partition, of a copy of its network.

    Args:
        found: The partition.
        network: The copy, not edited yet.
    """
    nodes = list(next(iter(found.values)).graph.nodes)
    of = dict(zip(nodes, network.graph.nodes, strict=True))

    def port(side: Port) -> Port:
        return replace(side, layer=replace(side.layer, node=of[side.layer.node], network=network))

    return replace(
        found,
        producers=[port(side) for side in found.producers],
        consumers=[port(side) for side in found.consumers],
        stored=[replace(s, node=of[s.node], reader=of[s.reader]) for s in found.stored],
        values={of[node]: value for node, value in found.values.items()},
        needs={need: of[node] for need, node in found.needs.items()},
    )


def _join_readers(labels: Labels) -> None:
    """Unite the channels of a stored tensor over its readers; other readers need all of them."""
    places: dict[str, dict[int, Tensor]] = defaultdict(dict)
    readers: dict[str, set[fx.Node]] = defaultdict(set)
    for stored in labels.stored:
        name = str(stored.node.target)
        readers[name].add(stored.reader)
        first = places[name].setdefault(stored.axis, stored.channels)
        labels.unite(first, stored.channels)
    for node in labels.network.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        for user in node.users.keys() - readers[name]:
            for channels in places[name].values():
                labels.freeze(channels, f"{name} is also read by {user.name}")


def _slots(value: Any, classes: Int[Tensor, " labels"]) -> Slots | None:
    """Find where the channels lie; a single one lies on the second axis, if it lies anywhere."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return None
    axis = next(iter(varying(value)), min(1, value.ndim - 1))
    channels = along(value, axis)
    return None if channels is None else Slots(axis, classes[channels])


def _find_needs(result: Removal) -> None:
    """Find the sets of classes of which each value must keep one; a lone class is frozen."""
    for node, value in result.values.items():
        for slots in pytree.tree_leaves(value):
            if isinstance(slots, Slots):
                found = frozenset(slots.classes.tolist())
                result.needs.setdefault(found, node)
                if len(found) == 1:
                    result.frozen.setdefault(min(found), f"nothing would be left of {node.name}")
    free = {n: node for n, node in result.needs.items() if not n & result.frozen.keys()}
    result.needs = {n: node for n, node in free.items() if not any(m < n for m in free)}
