"""Nodes of a graph: their arguments by name, and their neighbours across quantizers."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx


def overload(node: fx.Node) -> torch._ops.OpOverload:
    """The op of an ATen call."""
    assert isinstance(node.target, torch._ops.OpOverload)
    return node.target


def call(node: fx.Node, args: Any, kwargs: Any) -> Any:
    """Run the function of a `call_function` node on other arguments."""
    assert callable(node.target)
    return node.target(*args, **kwargs)


def operand(node: fx.Node, position: int = 0) -> fx.Node:
    """A positional argument that is computed by another node."""
    value = node.args[position]
    assert isinstance(value, fx.Node)
    return value


def argument(node: fx.Node, name: str) -> Any:
    """An argument of an ATen call by its schema name, or the schema's default.

    Raises:
        KeyError: The op has no such argument.
    """
    for position, spec in enumerate(overload(node)._schema.arguments):
        if spec.name == name:
            if position < len(node.args):
                return node.args[position]
            return node.kwargs.get(name, spec.default_value)
    raise KeyError(f"{node.target} has no argument {name!r}")


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Set an argument of an ATen call by its schema name; earlier defaults are filled in."""
    specs = overload(node)._schema.arguments
    position = [spec.name for spec in specs].index(name)
    args = list(node.args)
    missing = specs[len(args) : position + 1]
    args += [node.kwargs.get(spec.name, spec.default_value) for spec in missing]
    args[position] = value
    kept = {key: item for key, item in node.kwargs.items() if key not in {s.name for s in specs}}
    node.args, node.kwargs = tuple(args), kept


def source(node: fx.Node) -> fx.Node:
    """The node before any quantizers on an edge. In a `Network` every `call_module` is one."""
    while node.op == "call_module":
        first = node.args[0]
        assert isinstance(first, fx.Node)
        node = first
    return node


def readers(node: fx.Node) -> list[fx.Node]:
    """The nodes that read a value, directly or through quantizers."""
    found: list[fx.Node] = []
    for user in node.users:
        is_quantized = user.op == "call_module" and user.args[0] is node
        found += readers(user) if is_quantized else [user]
    return found


def ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """All nodes that some nodes are computed from, and these nodes themselves.

    Args:
        nodes: The nodes.
    """
    found, waiting = set(), list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def computed_from_inputs(graph: fx.Graph) -> list[fx.Node]:
    """The inputs, and every value that depends on one, in execution order."""
    found: dict[fx.Node, None] = {}
    for node in graph.nodes:
        depends = any(arg in found for arg in node.all_input_nodes)
        if node.op == "placeholder" or (depends and node.op != "output"):
            found[node] = None
    return list(found)


def insert_call(target: torch._ops.OpOverload, first: fx.Node, *others: Any) -> fx.Node:
    """Insert a call at the graph's insertion point, and note the shape and type of its value.

    Args:
        target: The op.
        first: Its first argument, which carries its own value's type in `meta["val"]`.
        others: The other arguments; nodes among them carry theirs, too.
    """
    node = first.graph.call_function(target, (first, *others))
    args = fx.map_arg(node.args, lambda arg: arg.meta["val"])
    node.meta["val"] = target(*args)
    return node
