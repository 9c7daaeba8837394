"""Folds `If` nodes whose condition depends on sizes: the branch is that of the example.

Exporters write `If` for what Python decided by shapes, such as a `squeeze`. A network is captured
with one of the branches, and an axis that the condition depends on has the size of the example.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from tersor.frontend.onnx.branches import lift_weights, take_branches
from tersor.frontend.onnx.evaluate import Value, evaluate
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.onnx.node import Node
from tersor.frontend.onnx.read import contents_of, name_nodes
from tersor.frontend.run_budget import counted


def settle_branches(model: OnnxModel, inputs: tuple[Tensor, ...]) -> OnnxModel:
    """Fold every `If` whose condition depends only on sizes.

    Args:
        model: The model of a file.
        inputs: Inputs that it runs on.

    Returns:
        The model itself if there is no such `If`; else a new one, which checks the conditions.
    """
    while model.origin is not None and any(node.op == "If" for node in model.nodes):
        taken = _taken(model, inputs)
        if not taken:
            break
        file = model.origin.model.clone()
        take_branches(file, {name: branch for name, _, branch in taken})
        lift_weights(file)
        name_nodes(file)
        settled = OnnxModel(contents_of(file, model.changes))
        settled.load_state_dict(model.state_dict(), strict=False)
        settled.path, settled.fixed = model.path, model.fixed
        settled.assumed = {**model.assumed, **{name: (value, b) for name, value, b in taken}}
        model = settled
    return model


def _taken(model: OnnxModel, inputs: tuple[Tensor, ...]) -> list[tuple[str, str, bool]]:
    """The `If` nodes whose condition is known: name, name of the condition, and its value."""
    found: list[tuple[str, str, bool]] = []
    model.evaluate = partial(_note, found)
    try:
        with torch.no_grad(), counted():
            model(*inputs)
    finally:
        model.evaluate = evaluate
    return found


def _note(
    found: list[tuple[str, str, bool]],
    node: Node,
    values: Mapping[str, Any],
    constants: Mapping[str, np.ndarray],
) -> dict[str, Value]:
    if node.op == "If" and isinstance(condition := values[node.inputs[0]], np.ndarray):
        found.append((node.name, node.inputs[0], bool(condition.item())))
    return evaluate(node, values, constants)


def takes_other_branches(model: OnnxModel, inputs: Sequence[Tensor]) -> bool:
    """Whether a folded `If` takes another branch on these inputs than in the example.

    Args:
        model: What `settle_branches` returned.
        inputs: Inputs of other sizes.
    """
    before, found = model.evaluate, dict[str, bool]()
    model.evaluate = partial(_watch, before, found)
    try:
        with torch.no_grad(), contextlib.suppress(Exception):  # other sizes may not fit
            model(*inputs)
    finally:
        model.evaluate = before
    return any(found.get(value, taken) != taken for value, taken in model.assumed.values())


def _watch(
    evaluate: Callable[..., dict[str, Value]],
    found: dict[str, bool],
    node: Node,
    values: Mapping[str, Any],
    constants: Mapping[str, np.ndarray],
) -> dict[str, Value]:
    results = evaluate(node, values, constants)
    known = {k: v for k, v in results.items() if isinstance(v, np.ndarray) and v.size == 1}
    found.update((name, bool(value.item())) for name, value in known.items())
    return results


def fix_axis(file: ir.Model, name: str, axis: int, size: int) -> None:
    """Give an open axis of an input a size, everywhere where the file has its name.

    Args:
        file: Edited in place.
        name: The input.
        axis: The axis.
        size: Its size.
    """
    graph = file.graph
    (given,) = (value for value in graph.inputs if value.name == name)
    assert given.shape is not None
    old = given.shape[axis]
    given.shape = _with(given.shape, {axis: size})
    if isinstance(old, int) or not old.value:
        return
    for value in (*graph.inputs, *graph.outputs, *(v for n in graph for v in n.outputs)):
        if value.shape is not None:
            same = {k: size for k, dim in enumerate(value.shape) if dim == old}
            value.shape = _with(value.shape, same)


def _with(shape: ir.Shape, sizes: Mapping[int, int]) -> ir.Shape:
    return ir.Shape(sizes.get(axis, dim) for axis, dim in enumerate(shape))
