"""Turns products with a stored matrix into linear layers: `x W + b` is `linear(x, Wᵀ, b)`.

Models write them as `torch.addmm`, `x @ self.weight` or `torch.mm` (GPT-2's `Conv1D` is one). Every
pass knows linear layers; `materialize_weights` then stores the transposed weight.
"""

from typing import Any

import torch
from torch import fx, nn

aten = torch.ops.aten

_PRODUCTS = {aten.mm.default, aten.matmul.default}
_TRANSPOSITIONS = {aten.t.default, aten.numpy_T.default, aten.transpose.int}


def lift_products(module: fx.GraphModule) -> None:
    """Rewrite products of a computed value and a parameter as linear layers.

    Args:
        module: Edited in place; its function is unchanged.
    """
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _PRODUCTS:
            _lift(module, node, *node.args)
        elif node.target is aten.addmm.default and len(node.args) == 3 and not node.kwargs:
            bias, x, weight = node.args
            if _parameter_ndim(module, bias) == 1:
                _lift(module, node, x, weight, bias)


def _lift(
    module: fx.GraphModule, node: fx.Node, x: fx.Node, weight: fx.Node, *bias: fx.Node
) -> None:
    is_computed = x.op == "call_function" or x.op == "placeholder"
    stored = weight.args[0] if weight.target in _TRANSPOSITIONS else weight
    if not is_computed or _parameter_ndim(module, stored) != 2 or x.meta["val"].ndim < 2:
        return
    with module.graph.inserting_before(node):
        transposed = module.graph.call_function(aten.t.default, (weight,))
    node.target, node.args = aten.linear.default, (x, transposed, *bias)


def _parameter_ndim(module: fx.GraphModule, node: Any) -> int | None:
    """The number of axes of a stored parameter; None for any other value."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    path, _, leaf = str(node.target).rpartition(".")
    value = getattr(module.get_submodule(path), leaf)
    return value.ndim if isinstance(value, nn.Parameter) else None
