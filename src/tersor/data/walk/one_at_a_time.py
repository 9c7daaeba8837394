"""Measures the effect of one change at a time on the outputs of an otherwise unchanged network.

A walk through the network stops in front of each node that is to change. For each change, only the
nodes from there on run again; the nodes before have run once.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from tersor.data.outputs.outputs import Metric, damage
from tersor.data.walk.observe import Batch
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.stream import Stream
from tersor.graph.network import Network
from tersor.graph.nodes import operand


@dataclass(frozen=True)
class Rest:
    """The rest of a network, from a node on.

    Attributes:
        stream: The batches, run up to the node.
        nodes: The node and all nodes after it, in order.
    """

    stream: Stream
    nodes: list[fx.Node]

    def damage(self, reference: list[Any], metric: Metric | None = None) -> float:
        """Measure the damage to the outputs, with the network as it is now.

        Args:
            reference: The outputs for these batches without any change.
            metric: See `tersor.data.outputs.outputs.damage`.
        """
        return damage(self.outputs(), reference, metric)

    def outputs(self) -> list[Any]:
        """Compute the outputs, with the network as it is now."""
        return self.stream.finish(self.nodes)


@dataclass(frozen=True)
class Stop:
    """A node of the walk, not changed yet.

    Attributes:
        node: The node.
        given: Its input for every batch.
        written: Its output for every batch; empty if it does not depend on an input.
        rest: The network from this node on.
    """

    node: fx.Node
    given: Sequence[Tensor]
    written: Sequence[Tensor]
    rest: Rest


def stops(
    network: Network,
    batches: Sequence[Batch],
    nodes: Collection[fx.Node],
    simulate: bool = False,
    judged: slice = slice(None),
    shelf: Shelf | None = None,
) -> Iterator[Stop]:
    """Stop at some nodes, in order. Undo each change before the walk continues.

    Args:
        network: The network.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        nodes: The nodes to stop at.
        simulate: Whether quantizers round.
        judged: The batches on which damage is measured; the others only provide inputs of nodes.
        shelf: Keeps the values; by default one that has room for all.
    """
    every, left = list(network.graph.nodes), set(nodes)
    stream = Stream(network, batches, simulate, shelf)
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


def outputs_of(
    network: Network, batches: Sequence[Batch], simulate: bool = False, shelf: Shelf | None = None
) -> list[Any]:
    """Compute the outputs of a network for every batch.

    Args:
        network: The network.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        simulate: Whether quantizers round, or pass values on unchanged.
        shelf: As for `stops`.
    """
    if not batches:
        return []
    return Stream(network, batches, simulate, shelf).finish(network.graph.nodes)
