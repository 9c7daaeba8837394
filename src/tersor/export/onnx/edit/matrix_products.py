"""Linear layers of the network are the products that they were: MatMul and Add, or Gemm."""

import onnx_ir as ir
from torch import fx

from tersor.errors import UnmappedError
from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.edit.stored_values import is_as_read, matters
from tersor.export.onnx.edit.values import Values
from tersor.graph.nodes import source
from tersor.graph.origin import Lifted


def wire_linear(draft: Draft, values: Values, nodes: dict[str | None, ir.Node], name: str) -> None:
    """Give a product its new input, matrix and bias.

    Args:
        draft: The file under construction.
        values: Finds or writes the values.
        nodes: The nodes of the file by name.
        name: The name of the product.

    Raises:
        UnmappedError: It reads something that has no place in the file.
    """
    node, note = nodes[name], draft.origin.lifted[name]
    reads = draft.prints[name].reads
    x, weight, bias = reads if len(reads) == 3 else (None, None, None)
    if x is None or weight is None:
        raise UnmappedError(f"node {name!r} is no single linear layer")
    value = values.of(x, str(x.target))
    if value is not draft.homes.get(draft.origin.records[name].reads[0]):
        node.replace_input_with(0, value)
    changes = not _stays(draft, weight) or (bias is not None and not _stays(draft, bias))
    if not changes:
        return
    if not note.plain:
        for attribute in ("alpha", "beta"):
            node.attributes.pop(attribute, None)
    node.replace_input_with(1, values.of(weight, note.weight, note.transposed))
    if bias is not None:
        _wire_bias(draft, values, nodes.get(note.add) or node, note, bias, name)
    elif note.bias:
        raise UnmappedError(f"node {name!r} lost its bias")


def _stays(draft: Draft, read: fx.Node) -> bool:
    return read.op == "get_attr" and is_as_read(draft, read)


def _wire_bias(
    draft: Draft, values: Values, adds: ir.Node, note: Lifted, bias: fx.Node, name: str
) -> None:
    if note.bias:
        place = [value and value.name for value in adds.inputs].index(note.bias)
        adds.replace_input_with(place, values.of(bias, note.bias))
    elif not matters(draft, bias):
        return
    elif adds.op_type == "Gemm":
        adds.resize_inputs(3)
        adds.replace_input_with(2, values.of(bias, str(source(bias).target)))
    else:
        value = values.of(bias, str(source(bias).target))
        add = ir.node("Add", [adds.outputs[0], value], name=f"{name}_bias")
        draft.insert_behind(adds.outputs[0], [add])
        draft.wish(f"{adds.outputs[0].name}_sum", (add.outputs[0], ""))
        draft.values[draft.prints[name].calls[-1]] = add.outputs[0]
