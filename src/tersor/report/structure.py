"""The structure of a network for its picture: layers and joints in order, and their edges."""

from typing import Any

import torch
from torch import fx

from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network
from tersor.graph.nodes import readers, source
from tersor.graph.shapes import shapes
from tersor.quant.placement.quantizer import quantizer_at
from tersor.report.contents import Cell, Link


def cells(network: Network) -> tuple[Cell, ...]:
    """Divide the network into cells: a layer or a joint, and the ops that follow only it.

    Args:
        network: The network, quantized or not.
    """
    seen = shapes(network)
    found: list[list[fx.Node]] = []
    links: list[tuple[Link, ...]] = []
    of: dict[fx.Node, int] = {}
    for node in network.graph.nodes:
        if not _is_shown(node, seen.get(node), of):
            continue
        read = _links(network, node, of)
        before = next((source(x) for x in node.all_input_nodes if source(x) in of), None)
        if (
            len(read) == 1
            and not is_layer(node)
            and before
            and _is_alone(before, found[of[before]])
        ):
            of[node] = of[before]
            found[of[node]].append(node)
        else:
            of[node] = len(found)
            found.append([node])
            links.append(read)
    return tuple(
        _cell(network, nodes, read, seen[nodes[-1]])
        for nodes, read in zip(found, links, strict=True)
    )


def edge_bits(network: Network, edge: fx.Node) -> int | None:
    """Find the bits of a value as it is read, or None in float.

    Args:
        network: The network.
        edge: The value, or its quantizer.
    """
    module = quantizer_at(network, edge)
    return module.grid.bits if module is not None and module.enabled else None


def _cell(network: Network, nodes: list[fx.Node], links: tuple[Link, ...], shape: Any) -> Cell:
    first = nodes[0]
    shape = shape if isinstance(shape, torch.Size) else shape[0]  # of several values, the first
    return Cell(
        name=Layer(first, network).name if is_layer(first) else first.name,
        ops=tuple(dict.fromkeys(map(_op, nodes))),
        shape=tuple(shape[1:]),
        inputs=links,
        is_layer=is_layer(first),
    )


def _is_shown(node: fx.Node, shape: Any, of: dict[fx.Node, int]) -> bool:
    """Whether a value is shown: inputs, and tensors or lists computed from them."""
    if isinstance(shape, list | tuple) and not isinstance(shape, torch.Size):
        shape = shape[0] if shape else None
    if not isinstance(shape, torch.Size):
        return False
    is_computed = node.op == "call_function" and any(source(x) in of for x in node.all_input_nodes)
    return node.op == "placeholder" or is_computed


def _links(network: Network, node: fx.Node, of: dict[fx.Node, int]) -> tuple[Link, ...]:
    found: dict[int, Link] = {}
    for edge in node.all_input_nodes:
        if source(edge) in of:
            position = of[source(edge)]
            found.setdefault(position, Link(position, edge_bits(network, edge)))
    return tuple(found.values())


def _is_alone(node: fx.Node, cell: list[fx.Node]) -> bool:
    """Whether nothing else reads a value, and its cell ends with it."""
    return cell[-1] is node and len(set(readers(node))) == 1


def _op(node: fx.Node) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    if node.op == "placeholder":
        return "input"
    name = getattr(node.target, "_schema", None)
    name = str(name.name).rpartition("::")[2] if name else str(getattr(node.target, "__name__", ""))
    return name.strip("_")
