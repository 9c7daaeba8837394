"""Replaces nodes of ONNX's infancy that no version defines any more, but files have until opset 9.

    ImageScaler         scale · x + bias, one bias for each channel
    Affine              alpha · x + beta
    ScaledTanh          alpha · tanh(beta · x)
    ParametricSoftplus  alpha · softplus(beta · x)

Converters from other formats wrote them, for the preparation of pictures above all.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tersor.frontend.onnx.branches import replace_value
from tersor.frontend.onnx.free_names import FreeNames

_FUNCTIONS = {"ScaledTanh": "Tanh", "ParametricSoftplus": "Softplus"}


def replace_forgotten(model: ir.Model) -> None:
    """Replace such nodes of the main graph by those that mean the same.

    Args:
        model: The file; edited in place.
    """
    graph, names = model.graph, FreeNames(model.graph)
    for node in list(graph):
        if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
            continue
        get, x = node.attributes.get_float, node.inputs[0]
        if node.op_type == "ImageScaler":
            bias = node.attributes.get_floats("bias", [0.0])
            shift = np.array(bias, np.float32).reshape(-1, 1, 1)
            steps = _steps(names, node, x, [("Mul", get("scale", 1.0)), ("Add", shift)])
        elif node.op_type == "Affine":
            steps = [("Mul", get("alpha", 1.0)), ("Add", get("beta", 0.0))]
            steps = _steps(names, node, x, steps)
        elif node.op_type in _FUNCTIONS:
            alpha, beta = get("alpha", 1.0), get("beta", 1.0)
            function = _FUNCTIONS[node.op_type]
            steps = _steps(names, node, x, [("Mul", beta), (function, None), ("Mul", alpha)])
        else:
            continue
        graph.insert_before(node, steps)
        replace_value(graph, node, node.outputs[0], steps[-1].outputs[0])
        graph.remove(node, safe=True)


def _steps(
    names: FreeNames,
    node: ir.Node,
    x: ir.Value,
    ops: Sequence[tuple[str, float | np.ndarray | None]],
) -> list[ir.Node]:
    """Nodes one after the other, each with a stored operand or none."""
    made = list[ir.Node]()
    for op, operand in ops:
        inputs = [x]
        if operand is not None:
            stored = names.store(np.asarray(operand, np.float32), f"{node.name}_{op}")
            inputs.append(stored)
        step = ir.node(op, inputs, name=names.take(f"{node.name}_{op}_node"))
        x = step.outputs[0]
        x.name = names.take(f"{node.name}_{op}_result")
        made.append(step)
    return made
