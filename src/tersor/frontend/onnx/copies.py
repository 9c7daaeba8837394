"""Lets nodes read a stored value itself where the file gives them copies of it.

`torch.onnx.export` stores a weight that several layers share once, and an `Identity` gives each of
the other layers its copy. Read as values of their own, these would be stored and rounded one by one.
"""

import onnx_ir as ir


def read_originals(model: ir.Model) -> None:
    """Remove every `Identity` of a stored value that is no output of the file.

    Args:
        model: The file; edited in place. Its nodes are in execution order.
    """
    for node in list(model.graph):
        if not _is_copy(node):
            continue
        (copy,), (original,) = node.outputs, node.inputs
        if copy.is_graph_output():
            continue
        ir.convenience.replace_all_uses_with(copy, original)
        model.graph.remove(node, safe=True)


def _is_copy(node: ir.Node) -> bool:
    """Whether a node only copies what the file stores."""
    if node.op_type != "Identity" or node.domain not in ("", "ai.onnx"):
        return False
    value = node.inputs[0]
    maker = None if value is None else value.producer()
    is_constant = maker is not None and maker.op_type == "Constant"
    return value is not None and (value.is_initializer() or is_constant)
