"""Finds values that are never negative, as far as the ops that compute them show it."""

from collections.abc import Callable

from tersor.frontend.onnx.integers import MOVES
from tersor.frontend.onnx.node import Node

_NEVER = {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp", "Sqrt", "Abs"}
#: Results are never negative if none of the inputs is.
_OF_ONE = {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", *MOVES}
_OF_ALL = {"Add", "Mul", "Concat", "Sum", "Max", "Min"}


def is_never_negative(node: Node, known: Callable[[str], bool]) -> bool:
    """Whether the results of a node are never negative.

    Args:
        node: The node.
        known: Whether a value that the node reads is never negative.
    """
    if node.op == "Clip" and len(node.inputs) > 1 and node.inputs[1] and known(node.inputs[1]):
        return True
    if node.op in _OF_ONE and node.inputs:
        return known(node.inputs[0])
    return node.op in _NEVER or (node.op in _OF_ALL and all(map(known, node.inputs)))
