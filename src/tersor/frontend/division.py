"""Integer division that survives every value.

    x / y  =  where(y = −1, −x, x)  /  where(y = −1, 1, y)

The smallest integer divided by −1 is too large for its type. Processors answer with a trap, and
PyTorch's truncating division passes the trap on: the process ends (SIGFPE) without a message. The
right-hand side wraps around instead, as negation does, and is equal for every other value.
"""

from typing import Any

import torch
from torch import Tensor, fx

from tersor.graph.nodes import insert_call

aten = torch.ops.aten

_TRUNCATING = {aten.div.Tensor_mode, aten.div.Scalar_mode}


def divide_whole(x: Tensor | int, y: Tensor | int) -> Tensor:
    """Divide integers and round towards zero.

    Args:
        x: Integers; at least one of `x` and `y` is a tensor.
        y: Integers that broadcast with `x`.
    """
    if isinstance(y, int):
        return torch.div(-x, 1, rounding_mode="trunc") if y == -1 else _divide(x, y)
    if not y.dtype.is_signed:
        return _divide(x, y)
    by_minus_one = y == -1
    x = x if isinstance(x, Tensor) else torch.full_like(y, x)
    return _divide(torch.where(by_minus_one, -x, x), torch.where(by_minus_one, 1, y))


def _divide(x: Any, y: Any) -> Tensor:
    return torch.div(x, y, rounding_mode="trunc")


def guard_divisions(graph: fx.Graph) -> None:
    """Rewrite every truncating division of integers in a graph as `divide_whole` computes it.

    Args:
        graph: Edited in place; each node carries its value's type in `meta["val"]`.
    """
    for node in list(graph.nodes):
        if node.target in _TRUNCATING and node.kwargs.get("rounding_mode") == "trunc":
            if not _is_whole(node.args[0]) or not _is_whole(node.args[1]):
                continue
            with graph.inserting_before(node):
                _guard(node)


def _is_whole(argument: Any) -> bool:
    if not isinstance(argument, fx.Node):
        return isinstance(argument, int)
    value = argument.meta.get("val")
    return isinstance(value, Tensor) and not value.is_floating_point() and value.dtype.is_signed


def _guard(node: fx.Node) -> None:
    x: Any = node.args[0]
    y: Any = node.args[1]
    if not isinstance(y, fx.Node):
        if y == -1:
            node.args = (insert_call(aten.neg.default, x), 1)
        return
    by_minus_one = insert_call(aten.eq.Scalar, y, -1)
    negated = insert_call(aten.neg.default, x)
    node.args = (
        insert_call(aten.where.self, by_minus_one, negated, x),
        insert_call(aten.where.ScalarSelf, by_minus_one, 1, y),
    )
