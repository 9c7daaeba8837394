"""Computes what depends on stored values only, once, when a file is read."""

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
from torch._subclasses.fake_tensor import FakeTensorMode

from tersor.errors import UnsupportedError
from tersor.frontend.onnx.constant_budget import Budget, counted
from tersor.frontend.onnx.dtypes import as_array
from tersor.frontend.onnx.evaluate import Value, evaluate
from tersor.frontend.onnx.file_contents import Contents
from tersor.frontend.onnx.node import Node
from tersor.frontend.onnx.table import OPS


def fold(contents: Contents) -> tuple[list[Node], dict[str, np.ndarray]]:
    """Compute everything that depends on stored values only.

    Args:
        contents: What a file says.

    Returns:
        The nodes that are left, and the stored values with those that were computed.

    Raises:
        InvalidModelError: It takes too much memory or time, or a node cannot be computed.
    """
    constants, kept = dict(contents.constants), []
    budget = Budget(sum(value.nbytes for value in constants.values()))
    for node in contents.nodes:
        read = [name for name in node.inputs if name]
        known = {name: constants[name] for name in read if name in constants}
        found = None if len(known) < len({*read}) else _known(node, known, budget)
        if found is None:
            kept.append(node)
            continue
        for name, value in found.items():
            constants[name] = value if isinstance(value, np.ndarray) else as_array(value)
    return kept, constants


def _known(node: Node, known: Mapping[str, np.ndarray], budget: Budget) -> dict[str, Value] | None:
    """Compute a node from stored values, within the budget; None if it cannot be computed alone."""
    if node.op not in OPS:
        return _aside(node, known, budget)
    with FakeTensorMode(allow_non_fake_inputs=True), counted() as counter:
        sizes = evaluate(node, known, known)  # before anything takes memory
    budget.spend(node, known, sizes.values(), counter.get_total_flops())
    return evaluate(node, known, known)


def _aside(node: Node, known: Mapping[str, np.ndarray], budget: Budget) -> dict[str, Value] | None:
    """Compute a node in onnxruntime; what that cannot run is told where its result is read."""
    with suppress(UnsupportedError), budget.aside(node):
        found = evaluate(node, known, known)
        budget.spend(node, known, found.values(), 0)
        return found
    return None
