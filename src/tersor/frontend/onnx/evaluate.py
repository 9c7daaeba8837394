"""Computes one node: brings inputs into the form that its op takes, and names it in errors."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.errors import InvalidModelError, TersorError, UnsupportedError
from tersor.frontend.explain import first_line
from tersor.frontend.onnx.carry import carry
from tersor.frontend.onnx.known import KNOWN, compute
from tersor.frontend.onnx.node import Node, Op
from tersor.frontend.onnx.table import OPS

#: Elements of the largest value that is computed; a damaged file may ask for any number.
LARGEST = 2**31
_AXES = 64  # of a NumPy array, at most
_OF_LENGTH = ("Split", "Compress")  # they know a number for each part, not for each axis
Value = Tensor | np.ndarray


def evaluate(
    node: Node, values: Mapping[str, Value], constants: Mapping[str, np.ndarray]
) -> dict[str, Value]:
    """Compute the outputs of a node, by name.

    Args:
        node: The node.
        values: Values by name: tensors, and arrays that stay out of the graph.
        constants: The stored values among them, as arrays.

    Raises:
        InvalidModelError: The node cannot be computed; names it and the shapes of its inputs.
        UnsupportedError: Neither PyTorch nor onnxruntime can compute the node.
    """
    try:
        results = _results_or_carried(node, values, constants)
    except TersorError:
        raise
    except Exception as error:
        shapes = [list(values[name].shape) for name in node.inputs if name in values]
        raise InvalidModelError(
            f"ONNX node {node.name!r} ({node.op}) cannot be computed on inputs of shape "
            f"{shapes}: {first_line(error)}"
        ) from error
    return {
        name: value
        for name, value in zip(node.outputs, results, strict=False)
        if name and value is not None
    }


def _results_or_carried(
    node: Node, values: Mapping[str, Value], constants: Mapping[str, np.ndarray]
) -> Sequence[Value]:
    """Compute a node in ATen if it has such a form, else in onnxruntime."""
    if node.op not in OPS:
        return carry(node, values, constants)
    try:
        return _results(node, values, constants)
    except UnsupportedError:
        if node.source is None:
            raise
        return carry(node, values, constants)


def _results(
    node: Node, values: Mapping[str, Value], constants: Mapping[str, np.ndarray]
) -> Sequence[Value]:
    arrays = [_array(name, values, constants) for name in node.inputs]
    op = OPS[node.op]
    _check_settings(node, op, arrays)
    is_known = all(a is not None for a, name in zip(arrays, node.inputs, strict=True) if name)
    if (
        is_known
        and node.inputs
        and node.op in KNOWN
        and any(name not in constants for name in node.inputs if name)
    ):
        found = compute(node, arrays)
        if found is not None:
            return [found]
    inputs = [_input(node, op, position, values, arrays) for position in range(len(node.inputs))]
    result = op.run(node, *inputs)
    results = result if isinstance(result, tuple | list) else (result,)
    if results and results[0] is None:
        raise ValueError("it computes nothing, as its first input is missing")
    for value in results:
        _check_size(value)
    return results


def _check_settings(node: Node, op: Op, arrays: Sequence[np.ndarray | None]) -> None:
    """Refuse more sizes, axes or pads than a value can have; reading them could take minutes."""
    for position in op.known if node.op not in _OF_LENGTH else ():
        array = arrays[position] if position < len(arrays) else None
        if array is not None and array.size > 2 * _AXES:
            raise ValueError(
                f"it takes {array.size:,} numbers, and a value has {_AXES} axes at most"
            )


def _array(
    name: str, values: Mapping[str, Value], constants: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    if name in constants:
        return constants[name]
    value = values.get(name)
    return value if isinstance(value, np.ndarray) else None


def _input(
    node: Node,
    op: Op,
    position: int,
    values: Mapping[str, Value],
    arrays: Sequence[np.ndarray | None],
) -> Any:
    name, array = node.inputs[position], arrays[position]
    if not name:
        return None
    if position in op.known:
        if array is None:
            raise node.refuse(f"takes {name!r} from the values of a tensor; it must be constant")
        return array
    if array is not None and op.takes_number(position, array):
        others = [values[other] for other in node.inputs if other and other != name]
        if any(isinstance(other, Tensor) and other.ndim >= array.ndim for other in others):
            number = array.reshape(-1)[0]
            return number.item() if isinstance(number, np.generic) else number
    value = values[name]
    return value if isinstance(value, Tensor) else as_tensor(value)


def as_tensor(array: np.ndarray) -> Tensor:
    """Convert an array to a tensor; a free size in it becomes part of the graph."""
    if array.dtype != object:
        return torch.from_numpy(np.array(array))
    parts = [torch.scalar_tensor(value, dtype=torch.int64) for value in array.ravel().tolist()]
    return torch.stack(parts).reshape(array.shape)


def _check_size(value: Any) -> None:
    if isinstance(value, Tensor):
        if value.ndim > _AXES:
            raise ValueError(f"its result would have {value.ndim:,} axes, which are too many")
        fixed = [size or 1 for size in value.shape if isinstance(size, int)]  # NumPy counts so
        if prod(fixed) > LARGEST:
            raise ValueError(f"its result would have shape {list(value.shape)}, which is too large")
