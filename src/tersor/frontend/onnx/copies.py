"""Lets nodes read a stored value itself where the file gives them copies of it.

`torch.onnx.export` stores a weight that several layers share once, and an `Identity` gives each of
the other layers its copy. Read as values of their own, they would be stored and rounded one by one.
"""

import onnx_ir as ir


def read_originals(model: ir.Model) -> None:
    """Remove every `Identity` of a stored value that is no output of the file.

    Args:
        model: The file; edited in place. Its nodes are in execution order.
    """
    for node in list(model.graph):
        original = _original(node)
        if original is None or node.outputs[0].is_graph_output():
            continue
        ir.convenience.replace_all_uses_with(node.outputs[0], original)
        model.graph.remove(node, safe=True)


def _original(node: ir.Node) -> ir.Value | None:
    """The stored value that a node copies; None if it does anything else."""
    if node.op_type != "Identity" or node.domain not in ("", "ai.onnx"):
        return None
    value = node.inputs[0]
    maker = None if value is None else value.producer()
    is_constant = maker is not None and maker.op_type == "Constant"
    return value if value is not None and (value.is_initializer() or is_constant) else None
