"""Computes shapes outside the graph: NumPy arrays of numbers, some of them a free batch size.

A free size is a `torch.SymInt`; an array that holds one has dtype object. Only the ops that
exporters write between `Shape` and the reader of the shape are here.
"""

import operator
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from tersor.frontend.onnx.node import Node

_BOOL = 9
_LARGEST = 1 << 16  # elements of an array of sizes


def known_sizes(shape: Sequence[Any]) -> np.ndarray:
    """Convert a shape to an array: int64, or object if a size is free."""
    return _tidy(np.array(list(shape), dtype=object))


def _tidy(array: Any) -> np.ndarray:
    """Convert an object array without a free size to int64 or float32."""
    array = np.asarray(array)
    if array.dtype != object:
        return array
    values = array.ravel().tolist()
    if any(isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool) for value in values):
        return array
    if all(isinstance(value, bool | np.bool_) for value in values) and values:
        return array.astype(bool)
    whole = all(isinstance(value, int | np.integer) for value in values)
    return array.astype(np.int64 if whole else np.float32)


def _axes(node: Node, given: np.ndarray | None) -> list[int] | None:
    axes = node.get("axes") if given is None else given.ravel().tolist()
    return None if axes is None else [int(axis) for axis in axes]


def _unsqueeze(node: Node, x: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
    return np.expand_dims(x, tuple(_axes(node, given) or ()))


def _squeeze(node: Node, x: np.ndarray, given: np.ndarray | None = None) -> Any:
    axes = _axes(node, given)
    return np.squeeze(x, None if axes is None else tuple(axes))


def _gather(node: Node, x: np.ndarray, indices: np.ndarray) -> Any:
    return np.take(x, indices.astype(np.int64), axis=node.get("axis", 0))


def _concat(node: Node, *parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=node.get("axis", 0))


def _slice(
    _: Node,
    x: np.ndarray,
    starts: np.ndarray | None = None,
    ends: np.ndarray | None = None,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> np.ndarray:
    assert starts is not None
    assert ends is not None
    chosen = range(len(starts)) if axes is None else axes.tolist()
    strides = [1] * len(starts) if steps is None else steps.tolist()
    index: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(chosen, starts, ends, strides, strict=True):
        reaches_front = step < 0 and end < -x.shape[axis]
        index[axis] = slice(int(start), None if reaches_front else int(end), int(step))
    return x[tuple(index)]


def _cast(node: Node, x: np.ndarray) -> Any:
    to_float = node.get("to") in (1, 10, 11, 16)
    if node.get("to") == _BOOL:
        return np.vectorize(lambda v: v if isinstance(v, torch.SymBool) else v != 0, [object])(x)
    if x.dtype != object:
        return x.astype(np.float32 if to_float else np.int64)
    convert: Callable[[Any], Any] = torch.sym_float if to_float else torch.sym_int
    return np.vectorize(convert, otypes=[object])(x)


def _divide(_: Node, x: np.ndarray, y: np.ndarray) -> Any:
    def divide(a: Any, b: Any) -> Any:
        is_float = any(isinstance(v, float | np.floating | torch.SymFloat) for v in (a, b))
        return a / b if is_float else a // b

    return np.vectorize(divide, otypes=[object])(x, y)


def _reduce(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def reduce(node: Node, x: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
        axes = _axes(node, given)
        keep = bool(node.get("keepdims", 1))
        axis = None if axes is None else tuple(axes)
        return np.asarray(function.reduce(x, axis=axis, keepdims=keep))  # type: ignore[attr-defined]

    return reduce


def _elementwise(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def apply(_: Node, *values: np.ndarray) -> np.ndarray:
        return np.asarray(np.vectorize(function, otypes=[object])(*values))

    return apply


def _reshape(_: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return x.reshape([int(size) for size in shape])


def _filled(node: Node, shape: np.ndarray) -> np.ndarray | None:
    """ConstantOfShape for the integers that shapes consist of; other results are tensors."""
    value = node.get("value")
    if shape.dtype == object or value is None or value.dtype.kind not in "ib":
        return None
    if prod(size or 1 for size in shape.ravel().tolist()) > _LARGEST:
        return None
    return np.full(shape, value.reshape(-1)[0]) if shape.size <= 1 else None


#: What can be computed on arrays with a free size.
KNOWN: dict[str, Callable[..., Any]] = {
    "Identity": lambda _, x: x,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Cast": _cast,
    "Reshape": _reshape,
    "Add": _elementwise(operator.add),
    "Sub": _elementwise(operator.sub),
    "Mul": _elementwise(operator.mul),
    "Div": _divide,
    "Mod": _elementwise(operator.mod),
    "Neg": _elementwise(operator.neg),
    "Max": _elementwise(torch.sym_max),
    "Min": _elementwise(torch.sym_min),
    "Equal": _elementwise(operator.eq),
    "Greater": _elementwise(operator.gt),
    "GreaterOrEqual": _elementwise(operator.ge),
    "Less": _elementwise(operator.lt),
    "LessOrEqual": _elementwise(operator.le),
    "And": _elementwise(operator.and_),
    "Or": _elementwise(operator.or_),
    "Not": _elementwise(operator.not_),
    "Size": lambda _, x: np.array(x.size),
    "Where": _elementwise(lambda condition, x, y: x if condition else y),
    "ConstantOfShape": _filled,
    "ReduceProd": _reduce(np.multiply),
    "ReduceSum": _reduce(np.add),
}


def compute(node: Node, values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Compute a node of one of the types of `KNOWN` on known values.

    Returns None if the result is better computed as a tensor.
    """
    while values and values[-1] is None:
        values = values[:-1]
    found = KNOWN[node.op](node, *values)
    return None if found is None else _tidy(found)
