"""Inputs whose value the user fixes: they become stored values of the file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from tersor.errors import InvalidInputError
from tersor.frontend.onnx.dtypes import TORCH
from tersor.frontend.onnx.opening import open_file
from tersor.frontend.onnx.stored import files
from tersor.frontend.onnx.tail import TAIL, join_tail

Number = int | float
Fixed = Mapping[str, Number | Sequence[Number] | Sequence[Sequence[Number]]]


def fix_inputs(model: ir.Model, values: Fixed) -> None:
    """Store values for inputs, which are then no inputs any more.

    Args:
        model: The file; edited in place.
        values: Name of an input → its value.

    Raises:
        InvalidInputError: There is no such input, the value does not fit it, or no input is left.
    """
    graph = model.graph
    inputs = {str(value.name): value for value in graph.inputs if not value.is_initializer()}
    for name, given in values.items():
        value = inputs.get(name)
        if value is None:
            raise InvalidInputError(
                f"fix gives a value to {name!r}, but the inputs are "
                f"{', '.join(map(repr, inputs))}; use one of these names"
            )
        value.const_value = ir.tensor(_fitting(value, given), name=name)
        graph.inputs.remove(value)
        graph.register_initializer(value)
    if values and len(values) == len(inputs):
        raise InvalidInputError("fix gives a value to every input; leave at least one of them out")


def write_fixed(path: str | Path, values: Fixed, target: Path) -> None:
    """Write a copy of a file in which values are stored for inputs.

    Args:
        path: The file.
        values: Name of an input → its value.
        target: Where the copy goes. Weights that do not lie in the file go beside it.

    Raises:
        InvalidInputError: See `fix_inputs`.
    """
    model, _ = open_file(path)
    fix_inputs(model, values)
    is_whole = len(files(path)) == 1
    ir.save(model, target, external_data=None if is_whole else f"{target.name}.data")
    if TAIL in model.metadata_props:
        proto = onnx.load(target, load_external_data=False)
        join_tail(proto)
        target.write_bytes(proto.SerializeToString())


def _fitting(value: ir.Value, given: object) -> np.ndarray:
    """The value in the type and with the axes of the input."""
    dtype = value.dtype
    if dtype is None or dtype not in TORCH or value.shape is None:
        raise InvalidInputError(f"input {value.name!r} is {value.type}, which cannot be fixed")
    plain = np.asarray(given)
    array = plain.astype(dtype.numpy())
    if dtype.is_integer() and not np.array_equal(array, plain):
        raise InvalidInputError(f"input {value.name!r} takes {dtype}, so it cannot be {given}")
    array = array.reshape([1] * len(value.shape)) if array.size == 1 else array
    is_same = array.ndim == len(value.shape) and all(
        not isinstance(want, int) or have == want
        for have, want in zip(array.shape, value.shape, strict=True)
    )
    if not is_same:
        sizes = [str(size) for size in value.shape]
        raise InvalidInputError(
            f"input {value.name!r} has shape {sizes}; the value given to fix it has shape "
            f"{list(array.shape)}"
        )
    return array
