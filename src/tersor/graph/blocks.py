"""Blocks: the parts of a network between single tensors on which everything after them depends.

If a single tensor separates everything before it from everything after it, the network can be cut
in two. A piece between two neighbouring cuts is one layer, or one residual branch with its
addition. Together with the activation and the quantizers after it, it is a block.

Tensors that depend on no floating-point input, such as attention masks, may pass by a cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network
from tersor.graph.nodes import computed_from_inputs
from tersor.graph.ops import UNARY

aten = torch.ops.aten
_LOOKUPS = {aten.embedding.default}


@dataclass(frozen=True)
class Block:
    """Layers that belong together.

    Attributes:
        nodes: What is computed inside from the inputs of the network, in execution order.
        entries: Values from outside that these nodes read: one tensor, and what may bypass a cut.
        exits: The values that others read: one tensor, except at the end of a network with several
            outputs.
        layers: The weighted calls inside.
    """

    nodes: tuple[fx.Node, ...] = field(repr=False)
    entries: tuple[fx.Node, ...]
    exits: tuple[fx.Node, ...]
    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        """The name of the first layer, and of the last one if there are several."""
        first, last = self.layers[0].name, self.layers[-1].name
        return first if len(self.layers) == 1 else f"{first} … {last}"


def blocks(network: Network) -> Iterator[Block]:
    """All blocks in execution order; every layer that depends on an input is in one.

    Args:
        network: The network, with or without quantizers.
    """
    values = computed_from_inputs(network.graph)
    known = set(values)
    nodes: list[fx.Node] = []
    for piece in _pieces(values):
        has_layers = any(map(is_layer, piece))
        if nodes and (has_layers or not all(map(_follows, piece))):
            yield _block(network, nodes, known)
            nodes = []
        if nodes or has_layers:
            nodes += piece
    if nodes:
        yield _block(network, nodes, known)


def _block(network: Network, nodes: list[fx.Node], known: set[fx.Node]) -> Block:
    inside = set(nodes)
    read = (arg for node in nodes for arg in node.all_input_nodes)
    entries = dict.fromkeys(arg for arg in read if arg in known and arg not in inside)
    exits = (node for node in nodes if any(user not in inside for user in node.users))
    layers = (Layer(node, network) for node in nodes if is_layer(node))
    return Block(tuple(nodes), tuple(entries), tuple(exits), tuple(layers))


def _follows(node: fx.Node) -> bool:
    """Whether a node still belongs to the block before it: an activation, or a quantizer."""
    return node.op == "call_module" or node.target in UNARY


def _pieces(values: list[fx.Node]) -> Iterator[list[fx.Node]]:
    """The nodes between one cut and the next."""
    order = {node: index for index, node in enumerate(values)}
    bound = _bound_to_inputs(values)
    alive: set[fx.Node] = set()
    piece: list[fx.Node] = []
    for node in values:
        alive |= {node} & bound
        if node.op == "placeholder":
            continue
        piece.append(node)
        alive = {value for value in alive if _last_use(value, order) > order[node]}
        if len(alive) <= 1 and all(isinstance(value.meta.get("val"), Tensor) for value in alive):
            yield piece
            piece = []
    if piece:
        yield piece


def _last_use(node: fx.Node, order: dict[fx.Node, int]) -> int:
    """Where a value is last read; what the network returns is read at the end."""
    return max((order.get(user, len(order)) for user in node.users), default=-1)


def _bound_to_inputs(values: list[fx.Node]) -> set[fx.Node]:
    """The values that must not bypass a cut: all but sizes, and what masks are made of."""
    bound: set[fx.Node] = set()
    for node in values:
        is_start = node.target in _LOOKUPS or (node.op == "placeholder" and is_float(node))
        depends = any(arg in bound for arg in node.all_input_nodes)
        is_number = isinstance(node.meta.get("val"), int | float | torch.SymInt)
        if (is_start or depends) and not is_number:
            bound.add(node)
    return bound


def is_float(node: fx.Node) -> bool:
    """Whether a value is a floating-point tensor."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()
