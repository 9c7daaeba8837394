"""Weights that a network computes from stored tensors alone become stored weights.

Weight standardisation, weight normalisation and re-parameterised blocks compute their weight from
parameters at every call. In inference the result never changes, so it is computed once; every
other pass then sees a plain weight.
"""

from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from tersor.graph.layers import argument, call, layers
from tersor.graph.network import Applied, Network, free_name, set_tensor, source


def materialize_weights(network: Network) -> None:
    """Store every weight and bias of a layer that is computed from stored tensors alone.

    The result is called `<module>.weight` or `.bias`, after the module that held its parts.

    Args:
        network: Edited in place; its function is unchanged.
    """
    for layer in layers(network):
        for role in ("weight", "bias"):
            edge = argument(layer.node, role)
            node = None if edge is None else source(edge)
            if node is None or node.op != "call_function":
                continue
            parts = _parts(node)
            if parts is not None:
                name = f"{_owner(parts) or layer.node.name}.{role}"
                _store(network, node, _evaluate(network, node, parts), name)
                what = f"its {role} is now stored; it was computed from {_names(parts)}"
                network.records.append(Applied(layer.name, "materialize", what))
    network.finish()


def _parts(node: fx.Node) -> list[fx.Node] | None:
    """All that a value is computed from, and itself, in execution order, if it is constant."""
    found, waiting = {node}, [node]
    while waiting:
        part = waiting.pop()
        if not _is_constant(part):
            return None
        new = set(part.all_input_nodes) - found
        found |= new
        waiting += new
    return sorted(found)


def _is_constant(part: fx.Node) -> bool:
    random = torch.Tag.nondeterministic_seeded in getattr(part.target, "tags", ())
    return part.op == "get_attr" or (part.op == "call_function" and not random)


def _evaluate(network: Network, node: fx.Node, parts: list[fx.Node]) -> Tensor:
    values: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for part in parts:
            if part.op == "get_attr":
                values[part] = network.tensor(part)
            else:
                args, kwargs = (map_arg(x, values.__getitem__) for x in (part.args, part.kwargs))
                values[part] = call(part, args, kwargs)
    return values[node].detach().clone()


def _store(network: Network, node: fx.Node, value: Tensor, name: str) -> None:
    """Replace a computed value by a parameter. Its parts go first, so that their name is free."""
    with network.graph.inserting_before(node):
        stored = network.graph.create_node("get_attr", "pending", name=name.replace(".", "_"))
    stored.meta["val"] = value
    node.replace_all_uses_with(stored)
    network.drop_unread()
    stored.target = free_name(network.module, name)
    set_tensor(network.module, stored.target, nn.Parameter(value))


def _owner(parts: list[fx.Node]) -> str:
    """The innermost module that holds all stored tensors among the parts."""
    names = [str(part.target).partition("parametrizations.")[0] for part in _stored(parts)]
    levels = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return ".".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))


def _names(parts: list[fx.Node]) -> str:
    return ", ".join(str(part.target) for part in _stored(parts)) or "constants"


def _stored(parts: list[fx.Node]) -> list[fx.Node]:
    return [part for part in parts if part.op == "get_attr"]
