"""Leaves out whole residual branches:  s = t + f(t)  →  s ≈ t + c.

c is one number for each channel: with data E[s − t], which makes up for the mean of what is left
out, and of the errors made before. All layers of f are removed, with their weights.

Huang et al., arXiv 1603.09382, train networks that lose branches at random, since a network of many
branches depends little on most of them (Veit et al., arXiv 1605.06431).

Differs from the papers in: no training. Which branches go is decided by their damage to the
outputs, beside all other ways of their layers, and the layers behind make up for what is missing
(`tersor.compression.reconstruct`).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Applied, Network
from tersor.graph.nodes import computed_from_inputs

aten = torch.ops.aten


@dataclass(frozen=True)
class Branch:
    """A residual branch: all that only one operand of an addition depends on.

    Attributes:
        sum: The name of the node that adds it.
        trunk: The name of the node that it is added to.
        last: The name of its last layer, whose output is added.
        layers: The names of its layers.
    """

    sum: str
    trunk: str
    last: str
    layers: tuple[str, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """The name of its first layer, and of the last one if there are several."""
        return self.last if len(self.layers) == 1 else f"{self.layers[0]} … {self.last}"


def branches(network: Network) -> list[Branch]:
    """Find the residual branches that can be left out.

    Of two operands with layers of their own, the one with more weights is the branch. A branch that
    holds another addition of this kind is not listed, nor one that does not end with a layer.

    Args:
        network: The network.
    """
    moving = set(computed_from_inputs(network.graph))
    found, sums = list[Branch](), set[fx.Node]()
    for node in network.graph.nodes:
        sides = [_inside(node, tip, moving) for tip in _operands(node)]
        if any(sides):
            inside = max(sides, key=lambda side: _weights(side, network))
            branch = _branch(node, inside, network) if sums.isdisjoint(inside) else None
            found += [branch] if branch else []
            sums.add(node)
    return found


def _branch(node: fx.Node, inside: list[fx.Node], network: Network) -> Branch | None:
    """The branch that a node adds, if it can be left out."""
    owned, tip = list(_layers(inside, network)), inside[-1]
    (trunk,) = (arg for arg in node.args if arg is not tip)
    assert isinstance(trunk, fx.Node)
    if not is_layer(tip) or any(layer.computed or not layer.has_own_weight for layer in owned):
        return None
    last = owned[-1]
    if last.is_transposed:
        return None
    return Branch(node.name, trunk.name, last.name, tuple(o.name for o in owned))


def _operands(node: fx.Node) -> list[fx.Node]:
    """The two tensors of equal shape that a node adds; none if it adds anything else."""
    given = list(dict.fromkeys(node.all_input_nodes))
    if node.target is not aten.add.Tensor or node.kwargs or len(given) < len(node.args):
        return []
    seen = [arg.meta.get("val") for arg in (node, *given)]
    sizes = {str(tuple(x.shape)) if isinstance(x, Tensor) else "" for x in seen}
    return given if len(sizes) == 1 else []


def _inside(end: fx.Node, tip: fx.Node, moving: Collection[fx.Node]) -> list[fx.Node]:
    """What is computed from inputs only for one operand of an addition, in execution order."""
    found, waiting = set[fx.Node](), [tip]
    while waiting:
        node = waiting.pop()
        readers = node.users.keys() - {end} if node is tip else node.users.keys()
        if node in moving and node.op != "placeholder" and readers <= found:
            found.add(node)
            waiting += node.all_input_nodes
    return [node for node in end.graph.nodes if node in found]


def _layers(nodes: Collection[fx.Node], network: Network) -> Iterator[Layer]:
    return (Layer(node, network) for node in nodes if is_layer(node))


def _weights(nodes: Collection[fx.Node], network: Network) -> int:
    found = (layer for layer in _layers(nodes, network) if layer.has_stored_weight)
    return sum(layer.weight.numel() for layer in found)


def leave_out(network: Network, dropped: Collection[Branch]) -> dict[str, fx.Node]:
    """Leave out branches; each becomes a constant, the bias of its last layer.

    Args:
        network: Edited in place, and gets a record for each branch. Channels may have been pruned
            since the branches were found.
        dropped: The branches.

    Returns:
        The name of each sum → the node of its constant.
    """
    found = dict[str, fx.Node]()
    if not dropped:
        return found
    nodes = {node.name: node for node in network.graph.nodes}
    last = {layer.name: layer for layer in _layers(nodes.values(), network)}
    for branch in dropped:
        node, layer = nodes[branch.sum], last[branch.last]
        layer.ensure_bias()
        assert layer.bias is not None
        value = layer.bias.detach().reshape(-1, *[1] * layer.kernel_dims).clone()
        found[branch.sum] = network.add_tensor(f"{branch.last}.constant", value, before=node)
        node.args = (nodes[branch.trunk], found[branch.sum])
        network.records.append(_record(branch))
    network.finish()
    left = {node.name for node in network.graph.nodes}
    network.statistics = {k: v for k, v in network.statistics.items() if k in left}
    return found


def _record(branch: Branch) -> Applied:
    count = len(branch.layers)
    what = f"the branch is left out: {count} layer{'s' if count > 1 else ''}, for a constant"
    return Applied(branch.name, "drop", what, {"layers": float(count)})
