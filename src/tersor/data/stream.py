"""Runs a network node by node over many batches, so that a layer can change before it runs."""

from collections.abc import Callable, Collection, Iterable
from copy import copy
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from tersor.data.observe import Batch
from tersor.graph.network import Network


class Stream:
    """All batches on their way through a network, node by node.

    Values are dropped once their last reader has run, batch by batch, so memory is needed for the
    values that are alive at the widest point, for all samples.

    Attributes:
        network: The network.
        values: Name of a node that depends on an input → its value for every batch.
    """

    def __init__(self, network: Network, batches: list[Batch], simulate: bool) -> None:
        """Start from the inputs.

        Args:
            network: The network; nodes that have not yet run may change.
            batches: Inputs, as `(args, kwargs)` in the structure of the network's own example.
            simulate: Whether quantizers round, or pass values on unchanged.
        """
        self.network = network
        self.simulate = simulate
        self.values: dict[str, list[Any]] = {}
        self._last: dict[str, list[str]] = {}
        placeholders = network.graph.find_nodes(op="placeholder")
        ordered = [pytree.tree_leaves(batch) for batch in batches]
        for index, node in enumerate(placeholders):
            self.values[node.name] = [leaves[index] for leaves in ordered]
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
            with torch.no_grad():
                self.values[node.name] = self._calls(node, done)
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

    def of(self, node: fx.Node) -> list[Any]:
        """The value of a node, or of a constant, for every batch."""
        found = self.values.get(node.name)
        if found is not None:
            return list(found)
        if node.op == "get_attr":
            return [self.network.tensor(node)] * self._count
        return self._calls(node)

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

    def _calls(self, node: fx.Node, done: Collection[str] = ()) -> list[Any]:
        """Compute a node for every batch; what it reads is looked up once.

        Args:
            node: The node.
            done: Values that nothing else reads; a batch of them is dropped once it has been read.
        """
        reads = {arg: self.of(arg) for arg in node.all_input_nodes}
        dropped = [reads[arg] for arg in reads if arg.name in done]
        for name in done:
            self.values.pop(name, None)
        function, given = self._function(node), (node.args, node.kwargs)
        found = []
        for batch in range(self._count):
            args, kwargs = fx.map_arg(given, lambda arg, i=batch: reads[arg][i])
            found.append(function(*args, **kwargs))
            for values in dropped:
                values[batch] = None
            del args, kwargs
        return found

    def _function(self, node: fx.Node) -> Callable[..., Any]:
        if node.op != "call_module":
            return node.target  # type: ignore[return-value]
        if not self.simulate:
            return lambda value, *_: value
        return self.network.module.get_submodule(str(node.target))
