"""Writes the layers that onnxruntime fuses with what follows as layers of ONNX again.

    FusedConv    → Conv (, Add), activation
    FusedGemm    → Gemm, activation
    FusedMatMul  → Transpose, MatMul, Mul

A file that onnxruntime has optimized holds these. As ONNX's own they can be quantized.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from tersor.frontend.onnx.free_names import FreeNames

_DOMAIN = "com.microsoft"
#: Activation → the names of its parameters, which are attributes; those of Clip are inputs.
_ACTIVATIONS = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Clip": ("min", "max"),
}
_PARAMETERS = ("activation_alpha", "activation_beta", "activation_gamma")
_OF_ACTIVATIONS = ("activation", "activation_params", *_PARAMETERS)


def write_apart(model: ir.Model) -> tuple[str, ...]:
    """Replace fused nodes of the main graph.

    Args:
        model: The file; edited in place.

    Returns:
        What was done, in words; nothing if there are no such nodes.
    """
    found: dict[str, int] = {}
    names = FreeNames(model.graph)
    for node in list(model.graph):
        change = _CHANGES.get(node.op_type) if node.domain == _DOMAIN else None
        if change is not None and change(names, node):
            found[node.op_type] = found.get(node.op_type, 0) + 1
    return tuple(f"{count} × {op} are written as nodes of ONNX" for op, count in found.items())


def _convolution(names: FreeNames, node: ir.Node) -> bool:
    given = [*node.inputs, None, None][:4]
    return _replace(names, node, "Conv", given[:3], given[3])


def _gemm(names: FreeNames, node: ir.Node) -> bool:
    return _replace(names, node, "Gemm", node.inputs, None)


def _replace(
    names: FreeNames,
    node: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    more: ir.Value | None,
) -> bool:
    """Write a layer, what is added to it, and its activation as nodes of their own."""
    activation = node.attributes.get_string("activation", "")
    if activation and activation not in _ACTIVATIONS:
        return False
    given = _given(node)
    if activation and len(given) < len(_ACTIVATIONS[activation]):
        return False
    kept = [x for name, x in node.attributes.items() if name not in _OF_ACTIVATIONS]
    last = _insert(names, node, op, inputs, kept)
    if more is not None:
        last = _insert(names, node, "Add", [last, more])
    if activation:
        last = _activated(names, node, activation, last, given)
    _take_place(names.graph, node, last)
    return True


def _given(node: ir.Node) -> list[float]:
    own = node.attributes.get_floats("activation_params", ())
    return list(own) or [x.as_float() for x in map(node.attributes.get, _PARAMETERS) if x]


def _activated(
    names: FreeNames, node: ir.Node, op: str, x: ir.Value, given: Sequence[float]
) -> ir.Value:
    parameters = _ACTIVATIONS[op]
    if op != "Clip":
        attributes = [ir.AttrFloat32(*pair) for pair in zip(parameters, given, strict=False)]
        return _insert(names, node, op, [x], attributes)
    limits = [
        names.store(np.array(number, np.float32), f"{x.name}_{name}")
        for name, number in zip(parameters, given, strict=False)
    ]
    return _insert(names, node, op, [x, *limits])


def _product(names: FreeNames, node: ir.Node) -> bool:
    get = node.attributes.get_int
    ranks = [None if x is None or x.shape is None else len(x.shape) for x in node.inputs]
    turns = [get("transA", 0), get("transB", 0)]
    if get("transBatchA", 0) or get("transBatchB", 0):
        return False
    if any(turn and rank is None for turn, rank in zip(turns, ranks, strict=True)):
        return False
    read = []
    for x, rank, turn in zip(node.inputs, ranks, turns, strict=True):
        if turn and x is not None and rank is not None and rank > 1:
            order = ir.AttrInt64s("perm", [*range(rank - 2), rank - 1, rank - 2])
            x = _insert(names, node, "Transpose", [x], [order])
        read.append(x)
    last = _insert(names, node, "MatMul", read)
    alpha = node.attributes.get_float("alpha", 1.0)
    if alpha != 1:
        factor = names.store(np.array(alpha, np.float32), f"{last.name}_alpha")
        last = _insert(names, node, "Mul", [last, factor])
    _take_place(names.graph, node, last)
    return True


def _insert(
    names: FreeNames,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    attributes: Sequence[ir.Attr] = (),
) -> ir.Value:
    node = ir.Node("", op, inputs, attributes)
    names.graph.insert_before(before, [node])
    (value,) = node.outputs
    value.name = names.take(f"{before.outputs[0].name}_{op.lower()}")
    return value


def _take_place(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let a value have the name, the type and the readers of what a node computes."""
    (old,) = node.outputs
    name, value.type, value.shape = old.name, old.type, old.shape
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    value.name = name


_CHANGES: dict[str, Callable[[FreeNames, ir.Node], bool]] = {
    "FusedConv": _convolution,
    "FusedGemm": _gemm,
    "FusedMatMul": _product,
    "TransposeMatMul": _product,
}
