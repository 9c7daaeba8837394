"""Turns products with a stored matrix into linear layers, as PyTorch has them: `x Wᵀ + b`.

`MatMul(x, W)` and `Gemm(x, W, b)` become one node `tersor.Linear`. Its weight is stored as
`[out, in]` under its own name, and its bias includes an `Add` that follows. What was done is noted,
so that it can be undone when the file is written.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from tersor.frontend.onnx.node import Node
from tersor.graph.origin import Lifted

Constants = dict[str, np.ndarray]


def lift_linear(
    nodes: list[Node], constants: Constants, outputs: tuple[str, ...]
) -> tuple[list[Node], Constants, dict[str, Lifted]]:
    """Rewrite nodes and stored values with linear layers.

    Args:
        nodes: Nodes in execution order.
        constants: Stored values.
        outputs: Names of the model's outputs.

    Returns:
        The nodes, the stored values, and for each linear layer what it was.
    """
    stored = dict(constants)
    uses = Counter([name for node in nodes for name in node.inputs] + list(outputs))
    lifted = [_lift(node, stored, uses) for node in nodes]
    notes = {
        old.name: _lifted(old, new)
        for old, new in zip(nodes, lifted, strict=True)
        if new.op == "tersor.Linear"
    }
    return _join_biases(lifted, stored, uses, notes), stored, notes


def _lifted(node: Node, linear: Node) -> Lifted:
    """Note what a product was."""
    is_gemm = node.op == "Gemm"
    return Lifted(
        weight=node.inputs[1],
        own=linear.inputs[1] == node.inputs[1],
        transposed=not (is_gemm and node.get("transB", 0)),
        bias=node.inputs[2] if is_gemm and len(node.inputs) > 2 else "",
        plain=not is_gemm or (node.get("alpha", 1.0) == 1 and node.get("beta", 1.0) == 1),
    )


def _lift(node: Node, stored: Constants, uses: Counter[str]) -> Node:
    if node.op not in ("MatMul", "Gemm") or len(node.inputs) < 2:
        return node
    name = node.inputs[1]
    weight = stored.get(name)
    if node.inputs[0] in stored or weight is None or weight.ndim != 2:
        return node
    if weight.dtype.kind != "f" or not _is_plain_bias(node, stored, weight):
        return node
    is_transposed = node.op == "Gemm" and node.get("transB", 0)
    alpha = node.get("alpha", 1.0) if node.op == "Gemm" else 1.0
    if not is_transposed or alpha != 1:
        plain = weight if is_transposed else weight.T
        plain = plain if alpha == 1 else (plain * np.asarray(alpha, weight.dtype))
        name = name if uses[name] == 1 else _name(name, node, stored, plain)
        stored[name] = np.ascontiguousarray(plain)
    kept = {"transA": 1} if node.op == "Gemm" and node.get("transA", 0) else {}
    inputs = (node.inputs[0], name, *_bias(node, stored, stored[name].shape[0], uses))
    return replace(node, op="tersor.Linear", inputs=inputs, attributes=kept)


def _name(name: str, node: Node, stored: Constants, value: np.ndarray) -> str:
    """A name for the transposed copy of a weight that other nodes read untransposed."""
    shared = f"{name}.transposed"
    if shared in stored and np.array_equal(stored[shared], value):
        return shared
    return shared if shared not in stored else f"{name}.{node.name}"


def _is_plain_bias(node: Node, stored: Constants, weight: np.ndarray) -> bool:
    """Whether a value can be the bias of a linear layer: stored, and one number per output."""
    if node.op == "MatMul" or len(node.inputs) < 3 or not node.inputs[2]:
        return True
    bias = stored.get(node.inputs[2])
    outputs = weight.shape[0] if node.get("transB", 0) else weight.shape[1]
    return bias is not None and bias.size in (1, outputs) and bias.shape[-1:] in ((bias.size,), ())


def _bias(node: Node, stored: Constants, outputs: int, uses: Counter[str]) -> tuple[str, ...]:
    if node.op == "MatMul" or len(node.inputs) < 3 or not node.inputs[2]:
        return ()
    name, beta = node.inputs[2], node.get("beta", 1.0)
    value = stored[name]
    plain = np.broadcast_to(value.reshape(-1), (outputs,)) * np.asarray(beta, value.dtype)
    if plain.shape == value.shape and beta == 1:
        return (name,)
    name = name if uses[name] == 1 else f"{node.name}.bias"
    stored[name] = plain
    return (name,)


def _join_biases(
    nodes: list[Node], stored: Constants, uses: Counter[str], notes: dict[str, Lifted]
) -> list[Node]:
    """Merge biases: `Add(Linear(x, W), b)` becomes `Linear(x, W, b)`."""
    makers = {node.outputs[0]: node for node in nodes if node.op == "tersor.Linear"}
    joined: dict[str, Node] = {}
    for node in nodes:
        if node.op != "Add" or len(node.inputs) != 2:
            continue
        for value, bias in (node.inputs, node.inputs[::-1]):
            linear = makers.get(value)
            if linear is None or uses[value] != 1:
                continue
            _, weight, *has_bias = linear.inputs
            if not has_bias and bias in stored and _is_row(stored[bias], len(stored[weight])):
                joined[node.outputs[0]] = _joined(linear, node, bias, stored, uses)
                joined[value] = node
                notes[linear.name] = replace(notes[linear.name], bias=bias, add=node.name)
                break
    return [
        joined.get(node.outputs[0], node) if node.op in ("Add", "tersor.Linear") else node
        for node in nodes
        if not (node.op == "tersor.Linear" and node.outputs[0] in joined)
    ]


def _is_row(value: np.ndarray, outputs: int) -> bool:
    """Whether a stored value has one number per output, and further axes of size 1 at most."""
    return value.size == outputs and value.shape[-1:] == (outputs,)


def _joined(linear: Node, add: Node, bias: str, stored: Constants, uses: Counter[str]) -> Node:
    """A linear layer with the bias that a node adds; it may have more axes than the result."""
    row = stored[bias]
    if row.ndim > 1:
        bias = bias if uses[bias] == 1 else f"{add.name}.bias"
        stored[bias] = row.reshape(-1)
    attributes = {**linear.attributes, "axes": row.ndim}
    inputs = (*linear.inputs, bias)
    return replace(linear, inputs=inputs, outputs=add.outputs, attributes=attributes)
