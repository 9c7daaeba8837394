"""Calls of the network that no node of the file stands for are written as new nodes.

Compression makes layers of factors and narrower ones, equalization clips channel by channel. What
is not in the table has no place in the file.
"""

import operator
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, fx

from tersor.errors import UnmappedError
from tersor.export.onnx.edit.draft import Draft, stored
from tersor.export.onnx.edit.new_layers import layer_node, linear_nodes
from tersor.graph.footprint import file_node, reference
from tersor.graph.layers import Layer, is_layer
from tersor.graph.nodes import argument
from tersor.graph.ops import clip_bounds, padding_per_axis, pads_with_constant

aten = torch.ops.aten
#: Finds or writes the value of a node: the node, a name if it is stored, and whether it is turned.
Find = Callable[..., ir.Value]

_SAME: dict[Any, str] = {
    aten.relu.default: "Relu",
    aten.sigmoid.default: "Sigmoid",
    aten.tanh.default: "Tanh",
    aten.neg.default: "Neg",
    aten.abs.default: "Abs",
    aten.add.Tensor: "Add",
    aten.sub.Tensor: "Sub",
    aten.mul.Tensor: "Mul",
    aten.div.Tensor: "Div",
    aten.minimum.default: "Min",
    aten.maximum.default: "Max",
}
_CLIPS = {
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
}


def write_call(draft: Draft, find: Find, node: fx.Node, before: ir.Node | None) -> ir.Value:
    """Write a call as new nodes.

    Args:
        draft: The file under construction.
        find: Finds or writes the value of what it reads.
        node: The call.
        before: The node in front of which it is written; at the end if None.

    Raises:
        UnmappedError: It is not in the table.
    """
    nodes = _nodes(draft, find, node)
    for new in nodes:
        new.name = node.name
    if before is None:
        draft.graph.extend(nodes)
    else:
        draft.graph.insert_before(before, nodes)
    *inner, last = nodes
    for new in inner:
        draft.wish(f"{node.name}_product", *((value, "") for value in new.outputs))
    if node.target is aten.split_with_sizes.default:
        draft.wish(node.name, *((part, f"_{k}") for k, part in enumerate(last.outputs)))
    else:
        draft.wish(_name(draft, node), (last.outputs[0], ""))
    return last.outputs[0]


def _name(draft: Draft, node: fx.Node) -> str:
    """The name of the value that it replaces, if it is the last call of a node of the file."""
    name = file_node(node)
    if name is None or draft.prints[name].calls[-1] is not node or name not in draft.origin.records:
        return node.name
    home = draft.homes.get(reference(name, draft.origin.records[name].count - 1))
    return node.name if home is None else str(home.name)


def _nodes(draft: Draft, find: Find, node: fx.Node) -> list[ir.Node]:
    if is_layer(node):
        layer = Layer(node, draft.network)
        write = linear_nodes if layer.is_linear else layer_node
        return write(draft, find, layer)
    if node.target in _SAME and not node.kwargs:
        return [ir.node(_SAME[node.target], [_operand(draft, find, arg) for arg in node.args])]
    if node.target in _CLIPS and (bounds := clip_bounds(node)) is not None:
        return [_clip(draft, find, node, bounds)]
    writer = _OTHERS.get(node.target)
    if writer is None:
        owner = file_node(node)
        of = "" if owner is None else f", which changes node {owner!r}"
        raise UnmappedError(f"the call {node.name!r} ({node.target}{of}) is no node of the file")
    return [writer(draft, find, node)]


def _operand(draft: Draft, find: Find, value: Any) -> ir.Value:
    if isinstance(value, fx.Node):
        return find(value, str(value.target))
    if not isinstance(value, int | float):
        raise UnmappedError(f"{value!r} is no number")
    number = _number(value)
    draft.wish("number", (number, ""))
    return number


def _number(value: float) -> ir.Value:
    return stored(torch.tensor(value, dtype=torch.float32).numpy())


def _clip(draft: Draft, find: Find, node: fx.Node, bounds: tuple[float, float]) -> ir.Node:
    infinite = float("inf")
    ends = [None if abs(end) == infinite else _number(end) for end in bounds]
    for end, what in zip(ends, ("low", "high"), strict=True):
        if end is not None:
            draft.wish(f"{node.name}_{what}", (end, ""))
    while ends and ends[-1] is None:
        ends.pop()
    return ir.node("Clip", [_operand(draft, find, node.args[0]), *ends])


def _gather(draft: Draft, find: Find, node: fx.Node) -> ir.Node:
    x, index, axis = node.args[0], node.args[2], int(argument(node, "dim"))
    return ir.node(
        "Gather", [_operand(draft, find, x), _operand(draft, find, index)], {"axis": axis}
    )


def _concat(draft: Draft, find: Find, node: fx.Node) -> ir.Node:
    parts = argument(node, "tensors")
    return ir.node(
        "Concat", [_operand(draft, find, x) for x in parts], {"axis": argument(node, "dim")}
    )


def _reshape(draft: Draft, find: Find, node: fx.Node) -> ir.Node:
    sizes = [size if isinstance(size, int) else -1 for size in argument(node, "shape")]
    if sizes.count(-1) > 1:
        raise UnmappedError(f"the call {node.name!r} has {sizes.count(-1)} free sizes")
    shape = _whole(draft, node, sizes)
    return ir.node("Reshape", [_operand(draft, find, node.args[0]), shape])


def _split(draft: Draft, find: Find, node: fx.Node) -> ir.Node:
    sizes = argument(node, "split_sizes")
    inputs = [_operand(draft, find, node.args[0]), _whole(draft, node, sizes)]
    axis = {"axis": argument(node, "dim")}
    return ir.node("Split", inputs, axis, num_outputs=len(sizes))


def _whole(draft: Draft, node: fx.Node, sizes: list[int]) -> ir.Value:
    value = stored(torch.tensor(sizes, dtype=torch.int64).numpy())
    draft.wish(f"{node.name}_sizes", (value, ""))
    return value


def _batch_norm(draft: Draft, find: Find, node: fx.Node) -> ir.Node:
    vectors = [argument(node, k) for k in ("weight", "bias", "running_mean", "running_var")]
    if not all(isinstance(vector, fx.Node) for vector in vectors):
        raise UnmappedError(f"the call {node.name!r} has no scale, shift or statistics")
    inputs = [_operand(draft, find, value) for value in (node.args[0], *vectors)]
    return ir.node("BatchNormalization", inputs, {"epsilon": float(argument(node, "eps"))})


def _item(_: Draft, find: Find, node: fx.Node) -> ir.Node:
    parts, number = node.args
    assert isinstance(parts, fx.Node)
    if parts.target is not aten.split_with_sizes.default or not isinstance(number, int):
        raise UnmappedError(f"the call {node.name!r} picks a part of {parts.name!r}")
    producer = find(parts, parts.name).producer()
    assert producer is not None
    return ir.node("Identity", [producer.outputs[number]])


def _pad(draft: Draft, find: Find, node: fx.Node) -> ir.Node:
    x = node.args[0]
    seen = x.meta.get("val") if isinstance(x, fx.Node) else None
    if not isinstance(seen, Tensor) or not pads_with_constant(node) or argument(node, "value"):
        raise UnmappedError(f"the call {node.name!r} pads with other numbers than zeros")
    each = padding_per_axis(node)
    axes = [each.get(axis - seen.ndim, (0, 0)) for axis in range(seen.ndim)]
    sizes = [int(before) for before, _ in axes] + [int(after) for _, after in axes]
    return ir.node("Pad", [_operand(draft, find, x), _whole(draft, node, sizes)])


def _prelu(draft: Draft, find: Find, node: fx.Node) -> ir.Node:
    x, slope = (arg for arg in node.args[:2] if isinstance(arg, fx.Node))
    seen = x.meta.get("val")
    if slope.op != "get_attr" or not isinstance(seen, Tensor):
        raise UnmappedError(f"the call {node.name!r} has a computed slope")
    tensor = draft.network.tensor(slope).detach()
    shape = [-1, *[1] * (seen.ndim - 2)] if tensor.numel() > 1 else [1]
    value = stored(tensor.reshape(shape).cpu().numpy())
    draft.wish(str(slope.target), (value, ""))
    return ir.node("PRelu", [_operand(draft, find, x), value])


_OTHERS: dict[Any, Callable[[Draft, Find, fx.Node], ir.Node]] = {
    aten.index_select.default: _gather,
    aten.cat.default: _concat,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: _pad,
    aten.reshape.default: _reshape,
    aten.split_with_sizes.default: _split,
    aten.batch_norm.default: _batch_norm,
    aten.prelu.default: _prelu,
    operator.getitem: _item,
}
