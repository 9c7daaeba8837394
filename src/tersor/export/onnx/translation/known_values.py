"""The size and type of every value of a graph, as far as passes have not kept them up to date.

Capture leaves them in `meta["val"]`. A pass that changes a call invalidates what follows from it.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree


def give_values(graph: fx.Graph, stored: Mapping[fx.Node, Tensor]) -> None:
    """Bring `meta["val"]` of every node up to date.

    Calls that were recorded from a file have the sizes of the example, where they should be open.

    Args:
        graph: Its inputs have the values that they had at capture.
        stored: Inputs that stand for stored tensors.

    Raises:
        TypeError: The inputs have no such values.
    """
    mode = mode_of(graph)
    changed: set[fx.Node] = set()
    rounded: dict[Hashable, Any] = {}
    for node in [] if knows_open_sizes(graph) else _calls(graph):
        node.meta.pop("val", None)
    for node, tensor in stored.items():
        known = node.meta["val"]
        node.meta["val"] = mode.from_tensor(tensor, static_shapes=True)
        if _form(known) != _form(tensor):
            changed.add(node)
    for node in graph.nodes:
        if node.op == "call_function" and _is_out_of_date(node, changed):
            known, node.meta["val"] = node.meta.get("val"), _computed(node, mode, rounded)
            if _form(known) != _form(node.meta["val"]):
                changed.add(node)


def knows_open_sizes(graph: fx.Graph) -> bool:
    """Whether the values of calls have open sizes, and so are of more than one example.

    Args:
        graph: The graph.
    """
    return any(map(_is_open, _calls(graph)))


def _calls(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "call_function"]


def mode_of(graph: fx.Graph) -> FakeTensorMode:
    """The mode in which the graph was captured.

    Args:
        graph: A graph with tensors for inputs.

    Raises:
        TypeError: It has none.
    """
    for node in graph.find_nodes(op="placeholder"):
        if isinstance(node.meta["val"], FakeTensor):
            return node.meta["val"].fake_mode
    raise TypeError("the inputs of the graph have lost the values that they had at capture")


def _computed(node: fx.Node, mode: FakeTensorMode, rounded: dict[Hashable, Any]) -> Any:
    """The value of a call, without its numbers; quantizers of alike values share theirs."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda part: part.meta["val"])
    is_quantizer = str(node.target).startswith("tersor.")
    name = (node.target, _form(args)) if is_quantizer else node.name
    if name not in rounded:
        with torch.no_grad(), mode, enable_python_dispatcher():
            rounded[name] = node.target(*args, **kwargs)  # type: ignore[operator]
    return rounded[name]


def _is_open(node: fx.Node) -> bool:
    """Whether a size of a value is free."""
    leaves = pytree.tree_leaves(node.meta.get("val"))
    sizes = (size for x in leaves if isinstance(x, Tensor) for size in x.shape)
    return any(isinstance(size, torch.SymInt) for size in sizes)


def _is_out_of_date(node: fx.Node, changed: set[fx.Node]) -> bool:
    return "val" not in node.meta or not changed.isdisjoint(node.all_input_nodes)


def _form(value: Any) -> Hashable:
    """Sizes and type; free sizes as their terms, for a comparison of the sizes would fix them."""
    if isinstance(value, Tensor):
        return value.dtype, tuple(map(_form, value.shape))
    if isinstance(value, list | tuple):
        return tuple(map(_form, value))
    return value.node.expr if isinstance(value, torch.SymInt) else str(value)
