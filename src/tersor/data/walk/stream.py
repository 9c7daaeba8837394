"""Runs a network node by node over many batches, so that a layer can change before it runs."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from tersor.data.walk.observe import Batch
from tersor.data.walk.per_batch import Computed, Equal, Kept, Values
from tersor.data.walk.shelf import Shelf
from tersor.graph.network import Network

aten = torch.ops.aten


class Stream:
    """All batches on their way through a network, node by node.

    Values are dropped once their last reader has run, batch by batch, so memory is needed for the
    values that are alive at the widest point, for all samples. A subclass may keep fewer of them,
    and compute the others when they are read.

    Attributes:
        network: The network.
        values: Name of a node that depends on an input → its value for every batch.
    """

    def __init__(
        self,
        network: Network,
        batches: Sequence[Batch],
        simulate: bool,
        shelf: Shelf | None = None,
    ) -> None:
        """Start from the inputs.

        Args:
            network: The network; nodes that have not yet run may change.
            batches: Inputs, as `(args, kwargs)` in the structure of the network's own example.
            simulate: Whether quantizers round, or pass values on unchanged.
            shelf: Keeps the values; by default one that has room for all.
        """
        self.network = network
        self.simulate = simulate
        self.values: dict[str, Values] = {}
        self._shelf = shelf or Shelf()
        self._last: dict[str, list[str]] = {}
        for index, node in enumerate(network.graph.find_nodes(op="placeholder")):
            self.values[node.name] = Computed(_leaf(index), batches)
        self._count = len(batches)
        order = {node: index for index, node in enumerate(network.graph.nodes)}
        for node in network.graph.nodes:
            if node.users:
                last = max(node.users, key=order.__getitem__)
                self._last.setdefault(last.name, []).append(node.name)

    def run(self, node: fx.Node) -> None:
        """Compute one node for every batch, if it depends on an input."""
        done = self._last.get(node.name, [])
        if any(arg.name in self.values for arg in node.all_input_nodes) and node.op != "output":
            found = self._computed(node)
            for name in done:
                self.values.pop(name, None)
            self.values[node.name] = self._kept(found) if self._keeps(node) else found
        for name in done:
            self.values.pop(name, None)

    def fork(self, batches: slice = slice(None)) -> "Stream":
        """Create an independent stream that continues from here, with some of the batches.

        Args:
            batches: The batches; default: all.
        """
        fork = copy(self)
        fork.values = {name: values[batches] for name, values in self.values.items()}
        fork._count = len(range(self._count)[batches])
        return fork

    def finish(self, nodes: Iterable[fx.Node]) -> list[Any]:
        """Compute what the network returns for every batch, without moving the stream itself.

        Args:
            nodes: The nodes that have not run yet, in order.
        """
        fork = self.fork()
        for node in nodes:
            if node.op != "output":
                fork.run(node)
        return fork.outputs()

    def of(self, node: fx.Node) -> Values:
        """The value of a node, or of a constant, for every batch.

        A node that has not run yet is computed of what has.
        """
        found = self.values.get(node.name)
        if found is not None:
            return found[:]
        is_ahead = self._reads_values(node)
        return self._computed(node) if is_ahead else Equal(self._constant(node), self._count)

    def _reads_values(self, node: fx.Node) -> bool:
        """Whether a node that has not run yet depends on values that are there."""
        reads = node.all_input_nodes
        return any(arg.name in self.values or self._reads_values(arg) for arg in reads)

    def outputs(self) -> list[Any]:
        """What the network returns for every batch, once all nodes have run."""
        graph = self.network.graph
        end = graph.output_node()
        values = {node: self.of(node) for node in end.all_input_nodes}
        found = []
        for batch in range(self._count):
            of_batch = {node: each[batch] for node, each in values.items()}
            found.append(graph.process_outputs(fx.map_arg(end.args[0], of_batch.__getitem__)))
        return found

    def _keeps(self, node: fx.Node) -> bool:
        """Whether the value of a node is kept; else it is computed whenever it is read."""
        del node
        return True

    def _function(self, node: fx.Node) -> Callable[..., Any]:
        """What computes a node; it may return `Codes` for a value that is kept."""
        if node.target is aten.view.default:
            return aten.reshape.default  # whose values may lie in any order
        if node.op != "call_module":
            return node.target  # type: ignore[return-value]
        if not self.simulate:
            return lambda value, *_: value
        return self.network.module.get_submodule(str(node.target))

    def _computed(self, node: fx.Node) -> Computed:
        """A node for every batch; what it reads is looked up once."""
        reads, given = node.all_input_nodes, (node.args, node.kwargs)
        function = self._function(node)

        def call(*values: Any) -> Any:
            args, kwargs = fx.map_arg(given, dict(zip(reads, values, strict=True)).__getitem__)
            return function(*args, **kwargs)

        return Computed(call, *map(self.of, reads))

    def _kept(self, found: Computed) -> Kept:
        """Compute values once; a batch of what only they read is dropped once it has been read."""
        items = []
        for batch in range(self._count):
            items.append(self._shelf.put(found[batch]))
            found.drop(batch)
        return Kept(items)

    def _constant(self, node: fx.Node) -> Any:
        """The value of a node that depends on no input."""
        if node.op == "get_attr":
            return self.network.tensor(node)
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._constant)
        with torch.no_grad():
            return self._function(node)(*args, **kwargs)


def _leaf(index: int) -> Callable[[Batch], Any]:
    return lambda batch: pytree.tree_leaves(batch)[index]
