"""Recurrent layers: calls of PyTorch's LSTM, GRU and RNN, and those carried over from a file.

No pass edits them, and no integer kernel computes them, but their weights can be stored in 8 bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx

from tersor.graph.carried import CARRIED, part_name, part_ops
from tersor.graph.carried_model import RECURRENT, decode
from tersor.graph.network import Applied, Network, Skipped
from tersor.graph.nodes import source

aten = torch.ops.aten
#: PyTorch's calls; their weights are `[gates · hidden, inputs]`, a layer and a direction each.
CALLS: dict[object, str] = {
    aten.lstm.input: "LSTM",
    aten.gru.input: "GRU",
    aten.rnn_tanh.input: "RNN",
    aten.rnn_relu.input: "RNN",
}


@dataclass(frozen=True)
class Recurrent:
    """One call of a recurrent layer.

    Attributes:
        node: The call.
        name: The user's name of the layer.
        op: `"LSTM"`, `"GRU"` or `"RNN"`.
        weights: The nodes that deliver its matrices: stored, or seen through quantizers.
        axis: The axis of the gates in the matrices.
    """

    node: fx.Node
    name: str
    op: str
    weights: tuple[fx.Node, ...]
    axis: int


def recurrent_layers(network: Network) -> Iterator[Recurrent]:
    """All recurrent layers with stored weights, in execution order.

    Args:
        network: The network.
    """
    for node in network.nodes():
        kind = CALLS.get(node.target)  # type: ignore[arg-type]
        if kind is not None:
            edges = [source(edge) for edge in node.all_input_nodes]
            found = tuple(e for e in edges if e.op == "get_attr" and network.tensor(e).ndim == 2)
            if found:
                name = str(found[0].target).rpartition(".")[0] or node.name
                yield Recurrent(node, name, kind, found, axis=0)
        elif node.target is CARRIED and part_ops(node) in RECURRENT:
            found = _matrices(node)
            if found and all(edge.op == "get_attr" for edge in found):
                yield Recurrent(node, part_name(node), part_ops(node), found, axis=1)


def choose_recurrent(network: Network, left_out: set[fx.Node]) -> list[Recurrent]:
    """Choose the recurrent layers whose weights are stored in 8 bits, and record all of them.

    Args:
        network: The network.
        left_out: Calls that stay in floating point.
    """
    found, chosen = list(recurrent_layers(network)), []
    own = {layer.node for layer in found}
    for layer in found:
        weights = sum(network.tensor(node).numel() for node in layer.weights)
        reason = "excluded by the user" if layer.node in left_out else None
        if any(not set(node.users) <= own for node in layer.weights):
            reason = "its weights have other readers, so integer copies would only take more space"
        if reason is None:
            what = f"{layer.op}: its {weights:,} weights are stored in 8 bits; it computes in float"
            network.records.append(Applied(layer.name, "place", what))
            chosen.append(layer)
        else:
            network.records.append(Skipped(layer.name, "place", f"{layer.op}: {reason}"))
    return chosen


def _matrices(node: fx.Node) -> tuple[fx.Node, ...]:
    """The nodes that deliver the inputs W and R of a carried layer."""
    graph = decode(str(node.args[1])).graph
    given: list[fx.Node] = node.args[0]  # type: ignore[assignment]
    edges = {value.name: source(edge) for value, edge in zip(graph.input, given, strict=True)}
    if len(graph.node) != 1:
        return ()
    names = graph.node[0].input[1:3]
    return tuple(edges[name] for name in names) if all(name in edges for name in names) else ()
