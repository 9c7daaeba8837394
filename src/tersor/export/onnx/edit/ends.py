"""The outputs of the file: their names stay, whatever computes them now."""

import onnx_ir as ir

from tersor.errors import UnmappedError
from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.edit.values import Values
from tersor.graph.footprint import output_nodes, references


def end(draft: Draft, values: Values) -> None:
    """Let every output of the file be what the network returns.

    Args:
        draft: The file under construction.
        values: Finds or writes the values.

    Raises:
        UnmappedError: An output has no place in the file.
    """
    nodes, names = output_nodes(draft.network), references(draft.network, draft.prints)
    if len(nodes) != len(draft.origin.outputs) or len(nodes) != len(draft.graph.outputs):
        raise UnmappedError("the network has other outputs than the file")
    for position, (node, was) in enumerate(zip(nodes, draft.origin.outputs, strict=True)):
        output = draft.graph.outputs[position]
        ref = draft.refs.get(output)
        if ref is None and was == "?" and names.get(node) is None:
            continue  # a size: no call computes it
        if ref != was:
            raise UnmappedError(f"output {output.name!r} is {was} in the network")
        if output.is_graph_input():
            continue  # it is returned as it came in
        value = values.of(node, str(output.name))
        if value is not draft.homes[was]:
            _replace(draft, position, value)


def _replace(draft: Draft, position: int, value: ir.Value) -> None:
    old = draft.graph.outputs[position]
    if (
        value.is_graph_input()
        or value.is_initializer()
        or value.is_graph_output()
        or (value.producer() is None)
    ):
        copy = ir.node("Identity", [value])
        draft.insert_behind(value, [copy])
        value = copy.outputs[0]
    name = str(old.name)
    old.name = f"{name}_before"
    value.name, value.type, value.shape = name, old.type, old.shape
    old.type = old.shape = None  # looked-up rows are integers now
    draft.graph.outputs[position] = value
    draft.wish(name, (value, ""))
    draft.wish(f"{name}_float", (old, ""))
