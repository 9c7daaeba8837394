"""Integers that no kernel computes with, in a form that onnxruntime converts once, or fast.

    DequantizeLinear(q, s) → Mul(Cast(q), s)

Both are s q, to the last bit. onnxruntime leaves DequantizeLinear of stored integers alone, since
integer kernels take it in. Layers that compute in float have none, so their weights would become
floats at every run. Other ops on stored values are computed at load: the file stays a quarter of
the float file, and runs like it. The rows of a table that is looked up are no stored values; but
onnxruntime moves their DequantizeLinear behind a Transpose, and quantizes them once more for that.
"""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from tersor.export.onnx.recurrent_weights import RECURRENT
from tersor.export.onnx.rewrite import constant, producer

_INTEGERS = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16)


def fold_weights(graph: ir.Graph, names: Collection[str]) -> None:
    """Read by Cast and Mul what is only stored as integers, and the weights of recurrent layers.

    Args:
        graph: Changed in place.
        names: Names of the stored integers that no kernel computes with.
    """
    taken = _names(graph)
    for read in [node for node in graph if node.op_type == "DequantizeLinear"]:
        rows = producer(read.inputs[0], "Gather")
        whole = read.inputs[0] if rows is None else rows.inputs[0]
        if whole is not None and whole.name in names and _has_no_offset(read):
            _spread(graph, read, rows is not None)
            _replace(graph, read.outputs[0], read, (str(whole.name), taken))
    _fold_recurrent_weights(graph, taken)


def _fold_recurrent_weights(graph: ir.Graph, taken: set[str]) -> None:
    for node in list(graph):
        for position in RECURRENT.get(node.op_type, ()):
            value = node.inputs[position]
            shaped = producer(value, "Reshape")
            read = producer(value if shaped is None else shaped.inputs[0], "DequantizeLinear")
            if value is not None and read is not None and _is_alone(value, read, shaped):
                for stored, array in zip(read.inputs, _arrays(read, shaped), strict=False):
                    _store(stored, array)
                called = str(read.inputs[0].name)  # type: ignore[union-attr]
                _replace(graph, value, read, (called, taken), shaped)


def scaled_integers(value: ir.Value | None) -> ir.Value | None:
    """The stored integers that `Mul(Cast(q), s)` reads; None for any other value.

    Args:
        value: The weight of a node.
    """
    product = producer(value, "Mul")
    cast = producer(None if product is None else product.inputs[0], "Cast")
    whole = None if cast is None else cast.inputs[0]
    stored = None if whole is None else whole.const_value
    return whole if stored is not None and stored.dtype in _INTEGERS else None


def _has_no_offset(read: ir.Node) -> bool:
    zero = constant(read.inputs[2]) if len(read.inputs) > 2 else None
    return constant(read.inputs[1]) is not None and (zero is None or not zero.any())


def _spread(graph: ir.Graph, read: ir.Node, of_rows: bool) -> None:
    """Give scales the axes behind theirs; those of rows belong to the last axis."""
    whole, scale = read.inputs[:2]
    step = constant(scale)
    rank = 1 if whole is None or whole.shape is None or of_rows else len(whole.shape)
    axis = 0 if of_rows else read.attributes.get_int("axis", 1) % rank
    behind = rank - 1 - axis
    if scale is None or step is None or not step.ndim or not behind:
        return
    spread = step.reshape(-1, *[1] * behind)
    if len(scale.uses()) == 1:
        _store(scale, spread)
    else:
        read.replace_input_with(1, _registered(graph, f"{scale.name}_spread", spread))


def _registered(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    free, number = name, 2
    while free in graph.initializers:
        free, number = f"{name}_{number}", number + 1
    value = ir.val(free)
    _store(value, array)
    graph.register_initializer(value)
    return value


def _is_alone(value: ir.Value, read: ir.Node, shaped: ir.Node | None) -> bool:
    """Whether stored bytes without an offset, and their scale, are for recurrent layers alone."""
    whole, scale = read.inputs[:2]
    if whole is None or scale is None or not _has_no_offset(read):
        return False
    alone = [whole, scale] if shaped is None else [whole, scale, read.outputs[0]]
    return (
        whole.const_value is not None
        and whole.const_value.dtype in _INTEGERS
        and all(len(x.uses()) == 1 for x in alone)
        and all(reader.op_type in RECURRENT for reader in value.consumers())
    )


def _replace(
    graph: ir.Graph,
    value: ir.Value,
    read: ir.Node,
    names: tuple[str, set[str]],
    shaped: ir.Node | None = None,
) -> None:
    """Read integers by Cast and Mul; for `names` see `_name`."""
    whole, scale = read.inputs[:2]
    step = constant(scale)
    assert step is not None
    cast = ir.node("Cast", [whole], {"to": ir.DataType.from_numpy(step.dtype)})
    product = ir.node("Mul", [cast.outputs[0], scale])
    graph.insert_before(read, [cast, product])
    _name(*names, cast, product)
    _take_place(value, product.outputs[0])
    old = [node for node in (shaped, read) if node is not None]
    stored = [x for node in old for x in node.inputs if x is not None and x.is_initializer()]
    graph.remove(old, safe=True)
    for unread in (x for x in stored if not x.uses()):
        del graph.initializers[str(unread.name)]


def _take_place(old: ir.Value, new: ir.Value) -> None:
    """Let everything that reads a value read another one, which is an output if that was one."""
    if old.is_graph_output():
        old.name, new.name = new.name, old.name
        new.type, new.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def _arrays(read: ir.Node, shaped: ir.Node | None) -> tuple[np.ndarray, np.ndarray]:
    """The integers in the shape that the layer takes, and scales that spread over them."""
    integers, step = constant(read.inputs[0]), constant(read.inputs[1])
    assert integers is not None
    assert step is not None
    if step.ndim:
        sizes = [1] * integers.ndim
        sizes[read.attributes.get_int("axis", 1)] = step.size
        step = step.reshape(sizes)
    shape = None if shaped is None else constant(shaped.inputs[1])
    if shape is not None:  # rows of all directions, one behind the other
        integers = integers.reshape(shape)
        step = step.reshape((*integers.shape[:-1], 1)) if step.ndim else step
    return integers, step


def _store(value: ir.Value | None, array: np.ndarray) -> None:
    assert value is not None
    value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)
    value.shape = ir.Shape(array.shape)


def _names(graph: ir.Graph) -> set[str]:
    """The names of all nodes and values."""
    values = (value for node in graph for value in (*node.outputs, *node.inputs) if value)
    return {str(value.name) for value in values} | {str(node.name) for node in graph}


def _name(name: str, taken: set[str], *nodes: ir.Node) -> None:
    """Name new nodes and their results after the weight, by names that nothing else has.

    Args:
        name: That of the weight.
        taken: All names; gets the new ones.
        nodes: The new nodes.
    """
    for node in nodes:
        free, number = f"{name}_{node.op_type}", 2
        while free in taken:
            free, number = f"{name}_{node.op_type}_{number}", number + 1
        node.name = node.outputs[0].name = free
        taken.add(free)
