"""Calls that read one weight are rounded once, for what all of them read.

In many detectors one head reads several scales of the picture. Its weight is rounded where the
first of these calls runs, so the inputs of the others have to be known by then: what they need is
moved forward in the graph, unless it depends on the first call. Every call then gets a bias of its
own, which makes up for the mean error that the weight leaves on its own input.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, fx

from tersor.data.walk.per_batch import Computed, Equal, Picked, Values
from tersor.data.walk.stream import Stream
from tersor.graph.layers import Layer, is_layer, layers
from tersor.graph.network import Network
from tersor.graph.nodes import ancestors, operand, readers
from tersor.quant.rounding.layer_task import LayerTask


def other_calls(layer: Layer) -> list[Layer]:
    """The other calls of a layer's weight that have its settings and its bias."""
    node = layer.node
    if not layer.has_stored_weight:
        return []
    calls = [user for user in readers(layer.weight_node) if is_layer(user) and user is not node]
    found = [Layer(call, layer.network) for call in calls]
    return [other for other in found if _settings(other) == _settings(layer)]


def _settings(layer: Layer) -> tuple[object, ...]:
    node = layer.node
    rank = node.meta["val"].ndim
    return node.target, node.args[3:], tuple(node.kwargs.items()), layer.bias_node, rank


def gather(network: Network) -> None:
    """Move forward what the calls of one weight read, so that it is there when the first one runs.

    Args:
        network: Edited in place: the order of its nodes changes, and nothing else.
    """
    done = set[fx.Node]()
    for layer in layers(network):
        if layer.node not in done:
            calls = [layer.node, *(other.node for other in other_calls(layer))]
            done.update(calls)
            if len(calls) > 1:
                _gather(network, calls)
    network.finish()


def _gather(network: Network, calls: list[fx.Node]) -> None:
    order = {node: index for index, node in enumerate(network.graph.nodes)}
    first = min(calls, key=order.__getitem__)
    for call in calls:
        needed = ancestors([operand(call)])
        if needed.isdisjoint(calls):
            later = (node for node in needed if order[node] > order[first])
            for node in sorted(later, key=order.__getitem__):
                first.prepend(node)
        order = {node: index for index, node in enumerate(network.graph.nodes)}


def with_all_calls(task: LayerTask, floating: Stream, quantized: Stream) -> LayerTask:
    """Add the data of all calls of the layer's weight to its own.

    Args:
        task: The layer with its own data.
        floating: The float network, which has run as far as the layer.
        quantized: The quantized network, likewise.

    Returns:
        The task with the data of every call, batch by batch; the task itself if there is no other.
    """
    edges = [operand(other.node) for other in other_calls(task.layer)]
    known = [edge.name for edge in edges if edge.name in quantized.values]
    known = [name for name in known if name in floating.values]
    if not known:
        return task
    (same,) = (a for a in layers(floating.network) if a.node.name == task.layer.node.name)
    weight = same.weight.detach()
    given = [task.given, *(quantized.values[name] for name in known)]
    ideal = (Computed(lambda x: same.run(x, weight), floating.values[name]) for name in known)
    wanted = [task.wanted, *ideal]
    none = [Equal(torch.zeros(()), len(values)) for values in given[1:]]
    missing = task.missing and _by_batch([task.missing, *none])
    return replace(
        task,
        given=_by_batch(given),
        wanted=_by_batch(wanted),
        missing=missing,
        held_back=task.held_back * len(given),
    )


def _by_batch(calls: list[Sequence[Tensor]]) -> Values:
    """The values of all calls for the first batch, then for the second, and so on."""
    return Picked([(values, batch) for batch in range(len(calls[0])) for values in calls])
