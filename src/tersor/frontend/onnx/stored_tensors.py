"""Which stored values of a file are tensors of the graph, and which of these are weights."""

from collections.abc import Mapping, Sequence

import numpy as np

from tersor.frontend.onnx import layer_ops, norm_ops
from tersor.frontend.onnx.carry import LARGEST_INSIDE
from tersor.frontend.onnx.node import Node, Op
from tersor.frontend.onnx.table import OPS

#: Ops whose stored numbers are learned, so that an infinite one is a damaged weight and no mask.
_LAYERS = {*layer_ops.OPS, *norm_ops.OPS}


def stored_tensors(
    nodes: Sequence[Node], constants: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> dict[str, bool]:
    """The stored values that some node reads as a tensor, by first use; and whether it is a weight.

    A value that is a weight for one node and no weight for another is no weight.

    Args:
        nodes: The nodes.
        constants: The stored values.
        outputs: Names of the outputs.
    """
    found: dict[str, bool] = {}
    for node in nodes:
        op = OPS.get(node.op)
        for position, name in enumerate(node.inputs):
            value = constants.get(name)
            if value is None or _is_known(op, position, value):
                continue
            found[name] = _is_weight(node.op, position, value) and found.get(name, True)
    return {**dict.fromkeys((x for x in outputs if x in constants), False), **found}


def _is_known(op: Op | None, position: int, value: np.ndarray) -> bool:
    """Whether a node takes a stored value as an array or a number, not as a tensor."""
    if op is None:
        return value.size <= LARGEST_INSIDE
    return position in op.known or op.takes_number(position, value)


def _is_weight(name: str, position: int, value: np.ndarray) -> bool:
    op = OPS.get(name)
    if value.dtype.kind != "f" or (op is not None and position in op.statistics):
        return False
    if name in _LAYERS:
        return True
    takes_numbers = op is not None and bool(op.numbers)
    is_number = takes_numbers and value.size == 1  # it scales, shifts or bounds
    return not is_number and bool(np.isfinite(value).all())
