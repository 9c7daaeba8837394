"""Finishes an edited file: integer kernels, names, and nothing that nobody reads."""

from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.rewrite import rewrite

_SIZES = ("Shape", "Size")
_ELEMENTWISE = frozenset({"Clip", "HardSwish", "Identity", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})


def finish(draft: Draft) -> None:
    """Remove what is not read, name and register new values, and bring nodes into order.

    Args:
        draft: The file under construction.
    """
    _inherit(draft)
    _read_shapes_of_integers(draft)
    rewrite(draft.graph)
    RemoveUnusedNodesPass()(draft.model)
    _name(draft)
    _name_nodes(draft.graph)
    draft.graph.sort()
    for value in _made(draft.graph):
        if value.type is None:  # a shape alone cannot be written
            value.shape = None


def _inherit(draft: Draft) -> None:
    """Let what computes sizes read the value that took the place of one that is gone."""
    for ref, node in draft.heirs.items():
        home, value = draft.homes.get(ref), draft.values.get(node)
        if home is None or value is None or value is home:
            continue
        for user, place in list(home.uses()):
            if user.op_type in _SIZES:
                user.replace_input_with(place, value)


def _read_shapes_of_integers(draft: Draft) -> None:
    """Let Shape read the integers of a value: a second reader of the floats keeps kernels apart.

    So do nodes that only a Shape reads, such as the activation between a layer and its quantizer.
    """
    for node in draft.graph:
        read = draft.rounded.get(node.inputs[0]) if node.op_type in _SIZES and node.inputs else None  # type: ignore[arg-type]
        write = None if read is None else read.producer()
        if write is not None:
            node.replace_input_with(0, write.inputs[0])
    for node in reversed(draft.graph):
        before = node.inputs[0].producer() if _is_for_sizes(node) else None  # type: ignore[union-attr]
        while before is not None and before.op_type in _ELEMENTWISE:
            node.replace_input_with(0, before.inputs[0])
            before = None if before.inputs[0] is None else before.inputs[0].producer()
        read = None if before is None else _rounded(node.inputs[0])
        if before is not None and read is not None:
            node.replace_input_with(0, read)
            _forget_types(node)


def _is_for_sizes(node: ir.Node) -> bool:
    """Whether a node only moves values whose sizes alone are read, or reads their sizes."""
    if not node.inputs or node.inputs[0] is None or node.op_type not in (*_SIZES, "Transpose"):
        return False
    outputs = node.outputs[0]
    is_read = all(_is_for_sizes(user) for user in outputs.consumers())
    return node.op_type in _SIZES or (is_read and not outputs.is_graph_output())


def _forget_types(node: ir.Node) -> None:
    """Forget the types of values of which only the sizes are read."""
    if node.op_type not in _SIZES:
        node.outputs[0].type = node.outputs[0].shape = None
        for user in node.outputs[0].consumers():
            _forget_types(user)


def _rounded(value: ir.Value | None) -> ir.Value | None:
    """The integers that a QuantizeLinear makes of a value, if one reads it."""
    users = [] if value is None else value.consumers()
    found = [user for user in users if user.op_type == "QuantizeLinear"]
    return found[0].outputs[0] if found else None


def _name(draft: Draft) -> None:
    """Give new values their names, or similar ones where these are taken."""
    graph = draft.graph
    values = [*graph.inputs, *graph.initializers.values(), *_made(graph)]
    new = {value for wish in draft.wishes for value, _ in wish.values}
    taken = {str(value.name) for value in values if value not in new}
    present = {*values, *_read(graph)}
    for wish in draft.wishes:
        named = [(value, suffix) for value, suffix in wish.values if value in present]
        name, number = wish.name, 2
        while any(f"{name}{suffix}" in taken for _, suffix in named):
            name, number = f"{wish.name}_{number}", number + 1
        for value, suffix in named:
            value.name = f"{name}{suffix}"
            taken.add(value.name)
            if value.const_value is not None and value.producer() is None:
                graph.register_initializer(value)


def _made(graph: ir.Graph) -> Iterable[ir.Value]:
    return (value for node in graph.all_nodes() for value in node.outputs)


def _read(graph: ir.Graph) -> Iterable[ir.Value]:
    return (value for node in graph for value in node.inputs if value is not None)


def _name_nodes(graph: ir.Graph) -> None:
    taken: set[str] = set()
    for node in graph:
        name, number = str(node.name or node.outputs[0].name), 2
        node.name = name
        while node.name in taken:
            node.name, number = f"{name}_{number}", number + 1
        taken.add(node.name)
