"""Runs a quantized network on batches in the simulation; weights are rounded once for all."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from tersor.data.observe import Batch, in_order
from tersor.graph.network import Network


def simulated(network: Network, batches: Sequence[Batch]) -> list[object]:
    """What a network returns for each batch.

    Args:
        network: The network; its quantizers round.
        batches: Inputs, as `(args, kwargs)`.
    """
    runner, graph = fx.Interpreter(network.module), network.graph
    with torch.no_grad():
        stored = _stored(network) if len(batches) > 1 else {}
        found = []
        for args, kwargs in batches:
            leaves = in_order(network, args, kwargs)
            outputs = runner.run(*leaves, initial_env=dict(stored), enable_io_processing=False)
            found.append(graph.process_outputs(outputs))
    return found


def _stored(network: Network) -> dict[fx.Node, Any]:
    """What quantizers make of stored weights and biases."""
    runner, found = fx.Interpreter(network.module), dict[fx.Node, Any]()
    runner.env = found
    for node in network.graph.nodes:
        is_rounded = node.op == "call_module" and found.keys() >= set(node.all_input_nodes)
        if node.op == "get_attr" or is_rounded:
            found[node] = runner.run_node(node)
    return {node: value for node, value in found.items() if node.op == "call_module"}
