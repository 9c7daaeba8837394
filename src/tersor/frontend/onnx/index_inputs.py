"""Inputs of a file that say where to look something up, such as token numbers."""

from collections.abc import Iterable, Mapping

import numpy as np

from tersor.frontend.onnx.node import Node

#: Ops whose results hold the same integers as what they read first.
_MOVES = frozenset(
    {
        *("Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
        *("Slice", "Split", "Expand", "Tile", "Gather"),
    }
)
_LOOKUPS = frozenset({"Gather", "GatherElements"})
_BOXES = "RoiAlign"
_FEW = 2  # rows of a table of unknown size that an index may have


def rows_of_inputs(
    names: Iterable[str], nodes: Iterable[Node], constants: Mapping[str, np.ndarray]
) -> dict[str, int]:
    """Name of an input → rows of the smallest table in which it is looked up.

    Args:
        names: Names of the inputs.
        nodes: Nodes in execution order.
        constants: Stored values.
    """
    origin, found = {name: name for name in names}, dict[str, int]()
    for node in nodes:
        first, second = (*node.inputs, "", "")[:2]
        if node.op in _LOOKUPS and second in origin:
            rows = _rows(constants.get(first), node.get("axis", 0))
            found[origin[second]] = min(rows, found.get(origin[second], rows))
        if node.op == _BOXES and node.inputs[2:] and node.inputs[2] in origin:
            found[origin[node.inputs[2]]] = 1  # of the pictures, which may be one
        if node.op in _MOVES and first in origin:
            origin |= dict.fromkeys(node.outputs, origin[first])
    return found


def _rows(table: np.ndarray | None, axis: int) -> int:
    if table is None or not -table.ndim <= axis < table.ndim:
        return _FEW
    return table.shape[axis]
