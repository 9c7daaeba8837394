"""The activation after a layer: the elementwise ops that are the only readers of its output."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, fx

from tersor.graph.network import Network
from tersor.graph.nodes import call, readers, source
from tersor.graph.ops import UNARY

aten = torch.ops.aten

# With a stored tensor as the other operand: a bound or a slope for each channel.
_WITH_CONSTANT = {aten.minimum.default, aten.maximum.default, aten.prelu.default}


def activation(network: Network, node: fx.Node) -> Callable[[Tensor], Tensor]:
    """Find the function of a node's value that the rest of the network sees in its place.

    It is the chain of activations after the node, each the only reader of the previous value.
    Quantizers are ignored. If several nodes read the value, or if it is added to another one, the
    function is the identity.

    Args:
        network: The network.
        node: A node, for instance that of a layer.
    """
    steps: list[Callable[[Tensor], Tensor]] = []
    while (step := _step(network, node)) is not None:
        steps.append(step)
        (node,) = readers(node)

    def function(value: Tensor) -> Tensor:
        for step in steps:
            value = step(value)
        return value

    return function


def _step(network: Network, node: fx.Node) -> Callable[[Tensor], Tensor] | None:
    """The activation that reads a node, if that is its only reader."""
    found = readers(node)
    if len(found) != 1 or (reader := found[0]).target not in UNARY | _WITH_CONSTANT:
        return None
    inputs = [source(arg) for arg in reader.all_input_nodes]
    if any(arg is not node and arg.op != "get_attr" for arg in inputs):
        return None
    return partial(_apply, network, reader, node)


def _apply(network: Network, reader: fx.Node, node: fx.Node, value: Tensor) -> Tensor:
    def fetch(arg: fx.Node) -> Tensor:
        return value if source(arg) is node else network.tensor(source(arg)).detach()

    args, kwargs = fx.map_arg((reader.args, reader.kwargs), fetch)
    return call(reader, args, kwargs)
