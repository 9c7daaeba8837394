"""Computes conditions that are known before a file runs.

They depend on stored values, on the number of axes of a value, and on sizes that the file fixes.
"""

from math import prod

import numpy as np
import onnx_ir as ir

from tersor.errors import TersorError
from tersor.frontend.onnx.carry import Source, compute_stored

#: Elements of the largest value that a condition is computed from, and how many nodes that takes.
_LARGEST, _DEEPEST = 1024, 64
_MOST = 1 << 22  # elements of what such values are broadcast to
_OPS = frozenset(
    {
        "Add",
        "And",
        "Cast",
        "Concat",
        "Div",
        "Equal",
        "Gather",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "Size",
        "Slice",
        "Squeeze",
        "Sub",
        "Unsqueeze",
        "Where",
        "Xor",
    }
)


def known_value(
    model: ir.Model, value: ir.Value | None, depth: int = _DEEPEST
) -> np.ndarray | None:
    """Compute a small value, if it is known before the file runs.

    Args:
        model: The file, with the shapes of its values as far as they can be inferred.
        value: A value of its main graph.
        depth: How many nodes may lie on the way from a stored value.

    Returns:
        The value, or None if it depends on an input.
    """
    if value is None or depth < 0:
        return None
    stored = ir.convenience.get_const_tensor(value)
    if stored is not None:
        return stored.numpy() if stored.size <= _LARGEST else None
    node = value.producer()
    if node is None or node.domain not in ("", "ai.onnx") or len(node.outputs) != 1:
        return None
    found = _of_shape(model, node, depth)
    return _computed(model, node, depth) if found is None else found


def _of_shape(model: ir.Model, node: ir.Node, depth: int) -> np.ndarray | None:
    """A shape that the file fixes; one size of a shape; or the number of its axes."""
    sizes = _sizes(node)
    if sizes is not None:
        is_fixed = all(isinstance(size, int) for size in sizes)
        return np.array(sizes, np.int64) if is_fixed else None
    before = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
    sizes = None if before is None else _sizes(before)
    if sizes is None:
        return None
    if node.op_type == "Size":
        return np.array(len(sizes), np.int64)
    chosen = known_value(model, node.inputs[1], depth - 1) if node.op_type == "Gather" else None
    if chosen is None or chosen.size != 1 or not -len(sizes) <= int(chosen.item()) < len(sizes):
        return None
    size = sizes[int(chosen.item())]
    return np.full(chosen.shape, size, np.int64) if isinstance(size, int) else None


def _sizes(node: ir.Node) -> list[int | ir.SymbolicDim] | None:
    """What a `Shape` node returns, as far as it is known."""
    value = node.inputs[0] if node.op_type == "Shape" and node.inputs else None
    if value is None or value.shape is None:
        return None
    end = node.attributes.get_int("end", len(value.shape))
    return list(value.shape)[node.attributes.get_int("start", 0) : end]


def _computed(model: ir.Model, node: ir.Node, depth: int) -> np.ndarray | None:
    if node.op_type not in _OPS:
        return None
    read = {v.name: known_value(model, v, depth - 1) for v in node.inputs if v is not None}
    if not read or any(array is None for array in read.values()):
        return None
    sizes = [array.size for array in read.values() if array is not None]
    if node.op_type != "Concat" and prod(sizes) > _MOST:
        return None
    try:
        (found,) = compute_stored(Source([node], model), read)  # type: ignore[arg-type]
    except TersorError:  # the file is damaged here, which is told where the node is computed
        return None
    return found if found.size <= _LARGEST else None
