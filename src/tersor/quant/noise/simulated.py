"""Runs a quantized network on batches in the simulation; weights are rounded once for all."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from tersor.data.walk.observe import Batch, in_order
from tersor.data.walk.plain_run import PlainRun
from tersor.graph.network import Network

#: Name of a value that depends on an input → what is called with it for every batch.
NamedWatchers = Mapping[str, Callable[[Tensor], None]]


def simulated(
    network: Network, batches: Sequence[Batch], watchers: NamedWatchers | None = None
) -> list[object]:
    """What a network returns for each batch.

    Args:
        network: The network; its quantizers round.
        batches: Inputs, as `(args, kwargs)`.
        watchers: See `NamedWatchers`.
    """
    simulation = Simulation(network, is_used_again=len(batches) > 1, watchers=watchers)
    return [simulation(batch) for batch in batches]


class Simulation:
    """A quantized network that must not change between batches."""

    def __init__(
        self, network: Network, is_used_again: bool = True, watchers: NamedWatchers | None = None
    ) -> None:
        """Round what is stored.

        Args:
            network: The network; its quantizers round.
            is_used_again: Whether there are several batches; a single one needs no rounded copies.
            watchers: See `NamedWatchers`.
        """
        graph = network.graph if is_used_again else _late(network.graph)
        named = watchers or {}
        watched = {node: named[node.name] for node in graph.nodes if node.name in named}
        self._network, self._runner = network, PlainRun(network, watched, graph)
        with torch.no_grad():
            self._stored = _stored(network) if is_used_again else {}

    def __call__(self, batch: Batch) -> object:
        """What the network returns.

        Args:
            batch: Inputs, as `(args, kwargs)`.
        """
        network, env = self._network, dict(self._stored)
        with torch.no_grad():
            leaves = in_order(network, *batch)
            outputs = self._runner.run(*leaves, initial_env=env, enable_io_processing=False)
        return network.graph.process_outputs(outputs)


def _late(graph: fx.Graph) -> fx.Graph:
    """The graph with what is computed of stored tensors right before it is read, and not in front.

    So no more of it is held than what one call reads.
    """
    late = fx.Graph()
    late.output(late.graph_copy(graph, {}))
    fixed = set[fx.Node]()
    for node in late.nodes:
        if node.op == "get_attr" or (node.op == "call_module" and fixed >= {*node.all_input_nodes}):
            fixed.add(node)
    for node in reversed([node for node in late.nodes if node in fixed and node.users]):
        min(node.users).prepend(node)
    return late


def _stored(network: Network) -> dict[fx.Node, Any]:
    """Stored weights and biases, and what quantizers make of them."""
    runner, found = fx.Interpreter(network.module), dict[fx.Node, Any]()
    runner.env = found
    for node in network.graph.nodes:
        is_rounded = node.op == "call_module" and found.keys() >= set(node.all_input_nodes)
        if node.op == "get_attr" or is_rounded:
            found[node] = runner.run_node(node)
    return found
