"""One change at a time: what it does to the outputs of a network that is as it was otherwise.

A walk through the network stops in front of each node that is to change. From there on, whatever
lies behind runs again for each change; what lies in front has run once.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from tersor.data.observe import Batch
from tersor.data.outputs import Metric, damage
from tersor.data.stream import Stream
from tersor.graph.network import Network
from tersor.graph.nodes import operand


@dataclass(frozen=True)
class Rest:
    """The rest of a network, from a node on.

    Attributes:
        stream: Batches that have come to the node.
        nodes: The node, and what comes behind it, in order.
    """

    stream: Stream
    nodes: list[fx.Node]

    def damage(self, reference: list[Any], metric: Metric | None = None) -> float:
        """The damage to the outputs, with the network as it is now.

        Args:
            reference: What the network returns for these batches without any change.
            metric: See `tersor.data.outputs.damage`.
        """
        return damage(self.stream.finish(self.nodes), reference, metric)


@dataclass(frozen=True)
class Stop:
    """A node of the walk, as yet unchanged.

    Attributes:
        node: The node.
        given: What it is given, for every batch.
        written: What it makes of that; empty if no input is behind it.
        rest: The network from this node on.
    """

    node: fx.Node
    given: list[Tensor]
    written: list[Tensor]
    rest: Rest


def stops(
    network: Network,
    batches: list[Batch],
    nodes: Collection[fx.Node],
    simulate: bool = False,
    judged: slice = slice(None),
) -> Iterator[Stop]:
    """Stop at some nodes, in order; between two stops the network has to be as it was.

    Args:
        network: The network.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        nodes: Where to stop.
        simulate: Whether quantizers act.
        judged: The batches that damage is looked at in; the others only show what nodes are given.
    """
    every, left = list(network.graph.nodes), set(nodes)
    stream = Stream(network, batches, simulate)
    for index, node in enumerate(every):
        if not left:
            return
        if node not in left:
            stream.run(node)
            continue
        left.discard(node)
        given, rest = stream.of(operand(node)), Rest(stream.fork(judged), every[index:])
        stream.run(node)
        yield Stop(node, given, stream.values.get(node.name, []), rest)


def outputs_of(network: Network, batches: list[Batch], simulate: bool = False) -> list[Any]:
    """What a network returns for every batch.

    Args:
        network: The network.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        simulate: Whether quantizers act, or are passed by.
    """
    return Stream(network, batches, simulate).finish(network.graph.nodes) if batches else []
