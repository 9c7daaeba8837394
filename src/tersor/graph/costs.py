"""MACs and parameters of each layer of a network, counted from the shapes of its example run.

Every weight is multiplied once at each position: of the output, or of the input if the convolution
is transposed. Strides, dilation, padding and groups are in the shapes already.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network
from tersor.graph.shapes import shapes


@dataclass(frozen=True)
class Cost:
    """What a layer, or a network, costs.

    Attributes:
        macs: Multiply-accumulates for one sample; additions of biases are not counted.
        parameters: Stored weights and biases.
    """

    macs: int = 0
    parameters: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.macs + other.macs, self.parameters + other.parameters)


def costs(network: Network) -> dict[str, Cost]:
    """Layer name → its cost, in execution order.

    The calls of a layer that is called several times add up; its tensors count once. Products of
    two activations, as in attention, are no layers.

    Args:
        network: The network, quantized or not.
    """
    seen, batch = shapes(network), batch_size(network)
    found: dict[str, Cost] = {}
    counted: set[fx.Node] = set()
    for layer in layers(network):
        tensors = [node for node in (layer.weight_node, layer.bias_node) if node is not None]
        stored = {node for node in tensors if node.op == "get_attr"} - counted
        counted |= stored
        parameters = sum(network.tensor(node).numel() for node in stored)
        cost = Cost(layer_macs(layer, seen, batch), parameters)
        found[layer.name] = found.get(layer.name, Cost()) + cost
    return found


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of some costs.

    Args:
        costs: Those of the layers of a network, for instance.
    """
    return sum(costs, Cost())


def layer_macs(layer: Layer, seen: dict[fx.Node, Any], batch: int) -> int:
    """Multiply-accumulates of one call of a layer for one sample.

    What a network does once for a whole batch is shared out among the samples.

    Args:
        layer: The layer.
        seen: What `shapes` gives for its network.
        batch: What `batch_size` gives.
    """
    positions = seen[layer.input if layer.is_transposed else layer.node]
    return macs(seen[layer.weight_node], positions, layer.channel_axis, batch)


def macs(weight: Sequence[int], positions: Sequence[int], channel_axis: int, batch: int = 1) -> int:
    """Multiply-accumulates for one sample.

    Args:
        weight: Shape of the weight.
        positions: Shape of the output; of the input if the convolution is transposed.
        channel_axis: Where the channels are in that shape: -1 for linear layers.
        batch: How many samples that shape holds.
    """
    sizes = [*positions]
    del sizes[channel_axis]
    return -(-math.prod(weight) * math.prod(sizes) // batch)


def batch_size(network: Network) -> int:
    """How many samples the example of a network holds.

    Args:
        network: The network.
    """
    leaves = pytree.tree_leaves((network.args, network.kwargs))
    return next(x.shape[0] for x in leaves if isinstance(x, Tensor))
