"""Weights of recurrent layers in a form that onnxruntime converts once, when it loads a file.

    DequantizeLinear(q, s) → Mul(Cast(q), s)

Both are s q, to the last bit. onnxruntime leaves DequantizeLinear of stored integers alone, since
integer kernels take it in. Recurrent layers have none, so their weights would become floats at
every run. Other ops on stored values are computed at load: the file stays a quarter of the float
file, and runs like it.
"""

import numpy as np
import onnx_ir as ir

from tersor.export.recurrent_weights import RECURRENT
from tersor.export.rewrite import constant, producer

_BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


def fold_recurrent_weights(graph: ir.Graph) -> None:
    """Let onnxruntime fold the conversion of the weights of recurrent layers.

    Args:
        graph: Changed in place.
    """
    for node in list(graph):
        for position in RECURRENT.get(node.op_type, ()):
            value = node.inputs[position]
            shaped = producer(value, "Reshape")
            read = producer(value if shaped is None else shaped.inputs[0], "DequantizeLinear")
            if value is not None and read is not None and _is_alone(value, read, shaped):
                _replace(graph, value, read, shaped)


def scaled_integers(value: ir.Value | None) -> ir.Value | None:
    """The stored integers that `Mul(Cast(q), s)` reads; None for any other value.

    Args:
        value: The weight of a node.
    """
    product = producer(value, "Mul")
    cast = producer(None if product is None else product.inputs[0], "Cast")
    whole = None if cast is None else cast.inputs[0]
    stored = None if whole is None else whole.const_value
    return whole if stored is not None and stored.dtype in _BYTES else None


def _is_alone(value: ir.Value, read: ir.Node, shaped: ir.Node | None) -> bool:
    """Whether stored bytes without an offset, and their scale, are for recurrent layers alone."""
    whole, scale = read.inputs[:2]
    zero = constant(read.inputs[2]) if len(read.inputs) > 2 else None
    if whole is None or scale is None or constant(scale) is None:
        return False
    alone = [whole, scale] if shaped is None else [whole, scale, read.outputs[0]]
    return (
        whole.const_value is not None
        and whole.const_value.dtype in _BYTES
        and (zero is None or not zero.any())
        and all(len(x.uses()) == 1 for x in alone)
        and all(reader.op_type in RECURRENT for reader in value.consumers())
    )


def _replace(graph: ir.Graph, value: ir.Value, read: ir.Node, shaped: ir.Node | None) -> None:
    """Read the integers of a weight by Cast and Mul."""
    whole, scale = read.inputs[:2]
    assert whole is not None
    assert scale is not None
    integers, step = _arrays(read, shaped)
    _store(whole, integers)
    _store(scale, step)
    cast = ir.node("Cast", [whole], {"to": ir.DataType.from_numpy(step.dtype)})
    product = ir.node("Mul", [cast.outputs[0], scale])
    graph.insert_before(read, [cast, product])
    ir.convenience.replace_all_uses_with(value, product.outputs[0])
    old = [node for node in (shaped, read) if node is not None]
    stored = [x for node in old for x in node.inputs if x is not None and x.is_initializer()]
    graph.remove(old, safe=True)
    for unread in (x for x in stored if not x.uses()):
        del graph.initializers[str(unread.name)]
    _name(graph, str(whole.name), cast, product)


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


def _store(value: ir.Value, array: np.ndarray) -> None:
    value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)
    value.shape = ir.Shape(array.shape)


def _name(graph: ir.Graph, name: str, *nodes: ir.Node) -> None:
    """Name new nodes and their results after the weight, by names that nothing else has."""
    others = [node for node in graph if node not in nodes]
    taken = {str(value.name) for node in others for value in (*node.outputs, *node.inputs) if value}
    taken |= {str(node.name) for node in others}
    for node in nodes:
        free, number = f"{name}_{node.op_type}", 2
        while free in taken:
            free, number = f"{name}_{node.op_type}_{number}", number + 1
        node.name = node.outputs[0].name = free
