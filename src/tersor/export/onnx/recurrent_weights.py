"""Stores the matrices of recurrent layers as integers in ONNX's own order of gates.

PyTorch's exporter slices and joins the matrices of each direction, in floating point and at every
run: `Concat(Slice(DequantizeLinear(w)), …)`. This rearranges the integers instead, once:
`DequantizeLinear(w′)`. Scales differ between directions, so these lie on one axis until a Reshape.
"""

from typing import Any

import numpy as np
import onnx_ir as ir

from tersor.export.onnx.rewrite import constant, producer
from tersor.frontend.onnx.known import compute
from tersor.frontend.onnx.node import Node

#: ONNX's recurrent layers → the positions of their matrices.
RECURRENT = {"LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2)}
_MOVES = frozenset({"Slice", "Concat", "Unsqueeze", "Squeeze", "Identity", "Reshape"})
_Arrays = tuple[np.ndarray, np.ndarray, str]  # integers, the scale of each, name of the first


def store_recurrent_weights(graph: ir.Graph) -> None:
    """Rearrange the integers of every recurrent layer.

    Args:
        graph: Changed in place.
    """
    for node in list(graph):
        for position in RECURRENT.get(node.op_type, ()):
            value = node.inputs[position]
            if value is None or producer(value, "DequantizeLinear") is not None:
                continue
            found = _rearranged(value)
            if found is not None and (found[1] == found[1][..., :1]).all():
                node.replace_input_with(position, _stored(graph, node, *found))


def layer_name(node: ir.Node) -> str | None:
    """The user's name of a PyTorch layer whose matrices were rearranged; None for other nodes.

    Args:
        node: Any node.
    """
    value = node.inputs[1] if node.op_type in RECURRENT else None
    shaped = producer(value, "Reshape")
    read = producer(value if shaped is None else shaped.inputs[0], "DequantizeLinear")
    owner, _, leaf = str(None if read is None else read.inputs[0].name).rpartition(".")  # type: ignore[union-attr]
    return owner if owner and leaf.startswith("W_l") else None


def _rearranged(value: ir.Value | None) -> _Arrays | None:
    """The integers behind a value and their scales, moved as the value's nodes move floats."""
    node = None if value is None else value.producer()
    if node is None:
        return None
    if node.op_type == "DequantizeLinear":
        return _integers(node)
    if node.op_type not in _MOVES:
        return None
    count = len(node.inputs) if node.op_type == "Concat" else 1
    parts = [_rearranged(x) for x in node.inputs[:count]]
    others: list[Any] = [constant(x) for x in node.inputs[count:]]
    known = [part for part in parts if part is not None]
    if len(known) < count or any(array is None for array in others):
        return None
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    plain = Node(node.op_type, str(node.name), (), (), attributes)
    integers = compute(plain, [*(part[0] for part in known), *others])
    scales = compute(plain, [*(part[1] for part in known), *others])
    return np.asarray(integers), np.asarray(scales), known[0][2]


def _integers(read: ir.Node) -> _Arrays | None:
    whole, scale = constant(read.inputs[0]), constant(read.inputs[1])
    zero = constant(read.inputs[2]) if len(read.inputs) > 2 else None
    if whole is None or scale is None or (zero is not None and zero.any()):
        return None
    sizes = [1] * whole.ndim
    if scale.ndim:
        sizes[read.attributes.get_int("axis", 1)] = scale.size
    spread = np.broadcast_to(scale.reshape(sizes), whole.shape)
    return whole, spread, str(read.inputs[0].name)  # type: ignore[union-attr]


def _stored(
    graph: ir.Graph, node: ir.Node, integers: np.ndarray, scales: np.ndarray, first: str
) -> ir.Value:
    """Store the integers `[directions, gates, inputs]` and read them in front of the layer."""
    rows, shape = scales[..., 0], integers.shape
    is_shared = bool((rows == rows[:1]).all())
    scale = rows[0] if is_shared else rows.reshape(-1)
    flat = integers if is_shared else integers.reshape(-1, shape[-1])
    name = first.replace("weight_ih", "W").replace("weight_hh", "R")
    name = f"{name}.rearranged" if name == first else name
    stored = [
        _initializer(graph, name, flat),
        _initializer(graph, f"{name}_scale", np.ascontiguousarray(scale)),
        _initializer(graph, f"{name}_zero_point", np.zeros(scale.shape, integers.dtype)),
    ]
    nodes = [ir.node("DequantizeLinear", stored, {"axis": int(is_shared)})]
    if not is_shared:
        sizes = _initializer(graph, f"{name}_shape", np.array(shape, np.int64))
        nodes.append(ir.node("Reshape", [nodes[0].outputs[0], sizes]))
    graph.insert_before(node, nodes)
    return nodes[-1].outputs[0]


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    free, number = name, 2
    while free in graph.initializers:
        free, number = f"{name}_{number}", number + 1
    value = ir.val(free, const_value=ir.tensor(array, name=free))
    graph.register_initializer(value)
    return value
