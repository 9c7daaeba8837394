"""Replaces sequences by their items where these are known: exporters write them for Python's lists.

    SplitToSequence, SequenceAt            → Split
    SequenceConstruct, ConcatFromSequence  → Concat

An optional value that is there is that value. Sequences that depend on values stay.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from tersor.frontend.explain import quiet
from tersor.frontend.onnx.branches import replace_value
from tersor.frontend.onnx.free_names import FreeNames

_Items = list[ir.Value]
_MOST = 10_000  # parts of a value


def expand_sequences(model: ir.Model) -> tuple[str, ...]:
    """Replace what is read from known sequences.

    Args:
        model: The file; edited in place. Sub-graphs stay as they are.

    Returns:
        What was done, in words; nothing for a file that stays as it is.
    """
    graph, known = model.graph, dict[ir.Value, _Items]()
    names = FreeNames(graph)
    if any(node.op_type == "SplitToSequence" for node in graph):  # the number of parts
        with quiet():
            ShapeInferencePass()(model)
    read = sum([_is_replaced(names, node, known) for node in list(graph)])
    for value in reversed(known):
        node = value.producer()
        if node is not None and not value.uses() and not value.is_graph_output():
            graph.remove(node, safe=True)
    return ("sequences are replaced by their items",) if read else ()


def _is_replaced(names: FreeNames, node: ir.Node, known: dict[ir.Value, _Items]) -> bool:
    """Note the items of a sequence, or replace the result of a node that reads a known one."""
    op = node.op_type if node.domain in ("", "ai.onnx") else ""
    if op in _ITEMS:
        found = _ITEMS[op](names, node, known)
        known |= {} if found is None else {node.outputs[0]: found}
    items = known.get(node.inputs[0]) if op in _READERS and node.inputs else None  # type: ignore[arg-type]
    new = None if items is None else _READERS[op](names, node, items)
    if new is None:
        return False
    replace_value(names.graph, node, node.outputs[0], new)
    names.graph.remove(node, safe=True)
    return True


def _number(value: ir.Value | None) -> int | None:
    """A stored whole number, or None."""
    stored = None if value is None else ir.convenience.get_const_tensor(value)
    return int(stored.numpy().item()) if stored is not None and stored.size == 1 else None


def _made(names: FreeNames, before: ir.Node, op: str, inputs: _Items, **options: int) -> ir.Node:
    """Insert a node with one output for each item that is asked for by `outputs`."""
    count = options.pop("outputs", 1)
    node = ir.node(op, inputs, options, num_outputs=count)
    names.graph.insert_before(before, [node])
    for value in node.outputs:
        value.name = names.take(f"{before.outputs[0].name}_item")
    return node


def _stored(names: FreeNames, node: ir.Node, array: np.ndarray) -> ir.Value:
    return names.store(array, f"{node.outputs[0].name}_stored")


def _given(_names: FreeNames, node: ir.Node, _known: dict[ir.Value, _Items]) -> _Items | None:
    found = [value for value in node.inputs if value is not None]
    return found if len(found) == len(node.inputs) else None


def _same(_names: FreeNames, node: ir.Node, known: dict[ir.Value, _Items]) -> _Items | None:
    return known.get(node.inputs[0])  # type: ignore[arg-type]


def _inserted(_names: FreeNames, node: ir.Node, known: dict[ir.Value, _Items]) -> _Items | None:
    items, value = known.get(node.inputs[0]), node.inputs[1]  # type: ignore[arg-type]
    place = len(items or ()) if len(node.inputs) < 3 else _number(node.inputs[2])
    if items is None or value is None or place is None:
        return None
    place = place + len(items) if place < 0 else place
    return [*items[:place], value, *items[place:]]


def _split(names: FreeNames, node: ir.Node, _known: dict[ir.Value, _Items]) -> _Items | None:
    x, axis = node.inputs[0], node.attributes.get_int("axis", 0)
    sizes = _sizes(node, axis)
    if x is None or sizes is None:
        return None
    keeps = len(node.inputs) > 1 or node.attributes.get_int("keepdims", 1)
    places = _stored(names, node, np.array(sizes, np.int64))
    parts = list(_made(names, node, "Split", [x, places], axis=axis, outputs=len(sizes)).outputs)
    if keeps:
        return parts
    axes = _stored(names, node, np.array([axis], np.int64))
    return [_made(names, node, "Squeeze", [part, axes]).outputs[0] for part in parts]


def _sizes(node: ir.Node, axis: int) -> list[int] | None:
    """The sizes of the parts, as far as they are known."""
    asked = node.inputs[1] if len(node.inputs) > 1 else None
    stored = None if asked is None else ir.convenience.get_const_tensor(asked)
    if asked is not None and stored is None:
        return None
    if stored is not None and len(stored.shape) == 1:
        return stored.numpy().tolist()
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    step = 1 if stored is None else int(stored.numpy().item())
    if not isinstance(size, int) or step < 1 or size > _MOST * step:
        return None
    return [min(step, size - start) for start in range(0, size, step)]


def _at(_names: FreeNames, node: ir.Node, items: _Items) -> ir.Value | None:
    place = _number(node.inputs[1])
    is_there = place is not None and -len(items) <= place < len(items)
    return items[place] if is_there and place is not None else None


def _length(names: FreeNames, node: ir.Node, items: _Items) -> ir.Value:
    return _stored(names, node, np.array(len(items), np.int64))


def _joined(names: FreeNames, node: ir.Node, items: _Items) -> ir.Value | None:
    axis = node.attributes.get_int("axis", 0)
    if not items:
        return None
    if node.attributes.get_int("new_axis", 0):
        axes = _stored(names, node, np.array([axis], np.int64))
        items = [_made(names, node, "Unsqueeze", [item, axes]).outputs[0] for item in items]
    return _made(names, node, "Concat", items, axis=axis).outputs[0]


def _element(_names: FreeNames, _node: ir.Node, items: _Items) -> ir.Value | None:
    return items[0] if len(items) == 1 else None


#: Ops that make sequences and optional values → what these hold; None if that is not known.
_ITEMS: dict[str, Callable[[FreeNames, ir.Node, dict[ir.Value, _Items]], _Items | None]] = {
    "SequenceConstruct": _given,
    "SequenceEmpty": _given,
    "SequenceInsert": _inserted,
    "SplitToSequence": _split,
    "Optional": _given,
    "Identity": _same,
}
#: Ops that read them → what takes the place of their result; None if that is not known.
_READERS: dict[str, Callable[[FreeNames, ir.Node, _Items], ir.Value | None]] = {
    "SequenceAt": _at,
    "SequenceLength": _length,
    "ConcatFromSequence": _joined,
    "OptionalGetElement": _element,
}
