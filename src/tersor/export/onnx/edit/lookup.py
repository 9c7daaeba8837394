"""Rows are looked up as integers, and only these become floats, instead of the whole table."""

import onnx_ir as ir
import torch

from tersor.export.onnx.edit.draft import Draft
from tersor.export.onnx.rewrite import producer


def look_up(draft: Draft, node: ir.Node, name: str) -> None:
    """Let a Gather of a table that is stored as integers read these.

    Args:
        draft: The file under construction.
        node: A node that has its new inputs.
        name: Its name.
    """
    call = draft.prints[name].calls[-1]
    if node.op_type != "Gather" or call.target is not torch.ops.aten.embedding.default:
        return
    read = producer(node.inputs[0], "DequantizeLinear")
    if read is None or read.inputs[0] not in draft.grids or read.attributes.get_int("axis", 1) == 0:
        return
    main, *parameters = read.inputs
    axis = {"axis": call.meta["val"].ndim - 1} if "axis" in read.attributes else {}
    rows = ir.node("DequantizeLinear", [node.outputs[0], *parameters], axis)
    node.replace_input_with(0, main)
    draft.insert_behind(node.outputs[0], [rows])
    rows.outputs[0].type, rows.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
    if not node.outputs[0].is_graph_output():
        node.outputs[0].type = None
    rows.name = f"{name}_DequantizeLinear"
    draft.wish(f"{node.outputs[0].name}_dequantized", (rows.outputs[0], ""))
    draft.values[call] = rows.outputs[0]
