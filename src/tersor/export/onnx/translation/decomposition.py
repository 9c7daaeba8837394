"""Replaces calls of ops that have no translation by calls of others."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.onnx._internal.exporter._registration import ONNXRegistry

from tersor.export.onnx.translation.known_values import mode_of
from tersor.export.onnx.translation.registry import decompositions


def decompose(graph: fx.Graph, table: ONNXRegistry) -> None:
    """Replace the calls that a graph has no translation for.

    Args:
        graph: Edited in place; its nodes have values.
        table: The translations.
    """
    for node in list(graph.nodes):
        is_op = isinstance(node.target, torch._ops.OpOverload)
        if is_op and node.op == "call_function" and not table.is_registered(node.target):
            _replace(node, _inside(node, table))


def _inside(node: fx.Node, table: ONNXRegistry) -> fx.Graph:
    """The calls that one call consists of."""
    mode, reads = mode_of(node.graph), node.all_input_nodes
    run = _with_numbers(node)
    with torch.no_grad(), mode:
        traced = make_fx(run, decompositions(table))(*[read.meta["val"] for read in reads])
    traced.graph.eliminate_dead_code()  # sizes that only a check has read
    return traced.graph


def _with_numbers(node: fx.Node) -> Callable[..., Any]:
    """A call as a function of the nodes that it reads; its other arguments are fixed."""
    reads = node.all_input_nodes

    def run(*values: Any) -> Any:
        known = dict(zip(reads, values, strict=True))
        args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    return run


def _replace(node: fx.Node, inside: fx.Graph) -> None:
    inputs = dict(zip(inside.find_nodes(op="placeholder"), node.all_input_nodes, strict=True))
    copies: dict[fx.Node, fx.Node] = dict(inputs)
    with node.graph.inserting_before(node):
        for part in inside.nodes:
            if part.op == "call_function":
                copies[part] = node.graph.node_copy(part, copies.__getitem__)
                copies[part].meta = {**node.meta, **part.meta}
    results: Any = fx.map_arg(inside.output_node().args[0], copies.__getitem__)
    _read_instead(node, results)
    node.graph.erase_node(node)


def _read_instead(node: fx.Node, results: fx.Node | Sequence[fx.Node]) -> None:
    if isinstance(results, fx.Node):
        node.replace_all_uses_with(results)
        return
    for user in list(node.users):
        assert user.target is operator.getitem
        user.replace_all_uses_with(results[user.args[1]])  # type: ignore[index]
        node.graph.erase_node(user)
