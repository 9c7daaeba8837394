"""Converts what a user gives as data to the inputs of a network, and checks it on the way.

One batch is a tensor or array for a single input, a tuple or list in the order of the inputs, or a
mapping by name. Data are one batch, or any iterable of batches.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from tersor.data.walk.observe import Batch
from tersor.errors import InvalidInputError
from tersor.frontend.axes import FIXED, check_shared
from tersor.frontend.explain import first_line
from tersor.frontend.given import key, tensor_names
from tersor.graph.network import Network, Skipped
from tersor.graph.shapes import is_free

Arrays = dict[str, np.ndarray]
Data = Any  # samples as the user gives them: one batch, or an iterable of batches; see above
#: Floating-point types that NumPy has.
_FLOATS = frozenset({torch.float16, torch.float32, torch.float64})
Labels = torch.Tensor | np.ndarray | Sequence[int]  # the class of each sample


def input_names(network: Network) -> list[str]:
    """Name inputs after the arguments of `forward`; keys and positions inside follow after dots.

    A model that was read from an ONNX file keeps the names of the file.
    """
    if network.input_names:
        return list(network.input_names)
    return tensor_names(network.module.forward, (network.args, network.kwargs))


def feed(batch: Any, inputs: Mapping[str, Sequence[Any]], dtypes: Mapping[str, np.dtype]) -> Arrays:
    """Convert a batch to one array per input of a model, checked.

    Args:
        batch: A tensor or array for a single input, a tuple or list in the order of the inputs
            (nested ones are flattened), or a mapping by name, which may hold further items.
        inputs: Input name → shape, with anything but a number for each free axis.
        dtypes: Input name → element type.

    Raises:
        InvalidInputError: The message names the input, what was expected and what was given.
    """
    values = in_order(batch, inputs)
    if len(values) != len(inputs) or not all(map(_is_array, values)):
        given = list(batch) if isinstance(batch, Mapping) else [_describe(v) for v in values]
        advice = _alike(values, inputs)
        raise InvalidInputError(
            f"the model takes {len(inputs)} input(s) {list(inputs)}, got {given}{advice}"
        )
    return {
        name: _checked(name, value, inputs[name], dtypes[name])
        for name, value in zip(inputs, values, strict=True)
    }


def in_order(batch: Data, names: Iterable[str]) -> list[Any]:
    """Put the values of a batch in the order of a model's inputs, if the batch names them.

    Args:
        batch: One batch.
        names: Names of the inputs, as `input_names` gives them.
    """
    names = list(names)
    if isinstance(batch, tuple | list) and len(batch) == 1 and isinstance(batch[0], Mapping):
        batch = batch[0]
    if isinstance(batch, Mapping) and set(batch) >= set(names):
        return [batch[name] for name in names]
    nested = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    found = {
        tuple(map(key, path)): value for path, value in pytree.tree_flatten_with_path(nested)[0]
    }
    wanted = [tuple(name.split(".")) for name in names]
    places = {first: str(place) for place, first in enumerate(dict.fromkeys(x[0] for x in wanted))}
    wanted = [(places[first], *rest) for first, *rest in wanted]
    return [found[path] for path in (wanted if found.keys() == {*wanted} else found)]


def _checked(name: str, value: Any, expected: Sequence[Any], dtype: np.dtype) -> np.ndarray:
    array = as_array(value)
    fits = array.ndim == len(expected) and all(
        have > 0 and (have == want or not isinstance(want, int))
        for have, want in zip(array.shape, expected, strict=True)
    )
    if not fits:
        shape = ", ".join(str(axis or "any") for axis in expected)
        raise InvalidInputError(
            f"input {name!r} has shape {array.shape}; the model takes [{shape}]"
            f"{_advice(array.shape, expected)}"
        )
    if array.dtype != dtype and array.dtype.kind != np.dtype(dtype).kind:
        raise InvalidInputError(
            f"input {name!r} is {array.dtype}; the model takes {dtype}: give inputs as the model "
            "takes them, preprocessed"
        )
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, dtype=dtype)
    if found.dtype.itemsize < array.dtype.itemsize and found.dtype.kind == "f":
        lost = np.isinf(found) & np.isfinite(array)
        if lost.any():
            raise InvalidInputError(
                f"input {name!r} holds {array[lost].flat[0]:.3g}, which is beyond {dtype}; scale "
                "the samples as the model expects them"
            )
    return found


def _alike(values: Sequence[Any], inputs: Mapping[str, Sequence[Any]]) -> str:
    """Say that a tuple is one batch, if it looks like several batches of a single input."""
    if len(inputs) != 1 or len(values) < 2 or not all(map(_is_array, values)):
        return ""
    ranks, (expected,) = {value.ndim for value in values}, inputs.values()
    several = ranks == {len(expected)} and len({value.shape[1:] for value in values}) == 1
    return ": a tuple is one batch; give a list if these are batches" if several else ""


def _advice(shape: tuple[int, ...], expected: Sequence[Any]) -> str:
    """Say what is probably wrong with a shape, and what to do."""
    if 0 in shape:
        return ", no axis empty"
    if len(shape) == len(expected) - 1:
        return "; the batch comes first: x[None] is a batch of one, and a list is one of batches"
    if len(shape) == len(expected) == 4 and shape[3] == expected[1] != shape[1]:
        return "; channels come before height and width: x.permute(0, 3, 1, 2)"
    if len(shape) == len(expected) == 4 and shape[1] == expected[1]:
        return "; resize pictures and crop them to that (--resize and --crop)"
    return ""


def network_feed(network: Network, batch: Any) -> Arrays:
    """Convert a batch to one array per input of a network, checked before any work.

    Args:
        network: The captured network.
        batch: One batch.

    Raises:
        InvalidInputError: The message names the input, what the network takes and what was given.
    """
    nodes = network.graph.find_nodes(op="placeholder")
    examples = pytree.tree_leaves((network.args, network.kwargs))
    values = [(node.meta.get("val"), x) for node, x in zip(nodes, examples, strict=True)]
    tensors = [(val, x) for val, x in values if isinstance(x, torch.Tensor)]
    shapes = [[_size(axis) for axis in val.shape] for val, _ in tensors]
    dtypes = [torch.empty(0, dtype=x.dtype).numpy().dtype for _, x in tensors]
    names = input_names(network)
    inputs = dict(zip(names, shapes, strict=True))
    try:
        found = feed(batch, inputs, dict(zip(names, dtypes, strict=True)))
    except InvalidInputError as error:
        more = _fixed(network, error) or _closed(network, in_order(batch, names), inputs)
        raise InvalidInputError(f"{error}{more}") from error
    if network.axes:
        check_shared(names, [array.shape for array in found.values()], network.axes)
    return found


def _fixed(network: Network, error: InvalidInputError) -> str:
    """Say which axes had to be fixed by the capture, if an input has another shape."""
    reasons = [
        record.reason
        for record in network.records
        if isinstance(record, Skipped) and record.step == FIXED and repr(record.layer) in str(error)
    ]
    advice = "give samples of that size, or capture the model with an example of another size"
    return f". {'. '.join(reasons)}: {advice}" if reasons and "has shape" in str(error) else ""


def _closed(network: Network, values: Sequence[Any], inputs: Mapping[str, Sequence[Any]]) -> str:
    """Say how a PyTorch model takes other sizes, if that is all that is wrong with a batch."""
    if network.origin is not None or len(values) != len(inputs):
        return ""
    for (name, expected), value in zip(inputs.items(), values, strict=True):
        shape = getattr(value, "shape", ())
        axes = [
            axis
            for axis, (have, want) in enumerate(zip(shape, expected, strict=False))
            if have != want and isinstance(want, int)
        ]
        if axes and min(axes) > 1 and len(shape) == len(expected) and 0 not in shape:
            wanted = {name: {axis: f"size_{axis}" for axis in axes}}
            option = ",".join(f"{axis}=size_{axis}" for axis in axes)
            return (
                ". To take several sizes, open these axes where the model is captured: "
                f"dynamic={wanted}, or --dynamic {name}:{option}"
            )
    return ""


def to_batch(network: Network, arrays: Arrays) -> Batch:
    """Convert arrays to arguments of a network, on the device of its example.

    Args:
        network: The network.
        arrays: One per tensor among its inputs, in their order; see `feed`.
    """
    examples, spec = pytree.tree_flatten((network.args, network.kwargs))
    left = iter(arrays.values())
    values = [
        torch.from_numpy(next(left)).to(example.device)
        if isinstance(example, torch.Tensor)
        else example
        for example in examples
    ]
    return pytree.tree_unflatten(values, spec)


def batches(inputs: Data) -> Iterator[Any]:
    """Iterate over what a user gives as data, one batch at a time.

    Args:
        inputs: One batch (a tensor, an array, a tuple, or a mapping), or any other iterable of
            batches: a list, a generator, a `DataLoader`.

    Raises:
        InvalidInputError: There is no batch.
    """
    if _is_array(inputs) or isinstance(inputs, tuple | Mapping):
        yield inputs
        return
    if isinstance(inputs, str) or not isinstance(inputs, Iterable):
        raise InvalidInputError(
            f"inputs are {type(inputs).__name__}; give a tensor, an array, a tuple, a mapping, or "
            "an iterable of those, such as a DataLoader"
        )
    empty = True
    for batch in inputs:
        empty = False
        yield batch
    if empty:
        raise InvalidInputError("inputs hold no batch; give at least one sample")


def split_labels(batch: Data, inputs: int | None = None) -> tuple[Data, np.ndarray | None]:
    """Take a trailing row of integers off a batch that has one item too many.

    Args:
        batch: One batch.
        inputs: Number of tensors that the model takes, if known, including those in nested inputs.
    """
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        return batch, None
    if inputs not in (None, len(pytree.tree_leaves(tuple(batch[:-1])))):
        return batch, None
    last = batch[-1]
    is_row = getattr(last, "ndim", 0) == 1 and as_array(last).dtype.kind in "iu"
    return (tuple(batch[:-1]), as_array(last)) if is_row else (batch, None)


def as_array(values: Any) -> np.ndarray:
    """Convert a tensor, array or list to a NumPy array; bfloat16 and float8 become float32.

    Args:
        values: What a user gives.

    Raises:
        InvalidInputError: A tensor is sparse, quantized, or without values.
    """
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    try:
        return with_array_type(values).detach().cpu().numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise InvalidInputError(
            f"a tensor of {values.dtype} has no form as an array ({first_line(error)}); give a "
            "dense tensor of float32 or integers, as x.to_dense() or x.dequantize() give it"
        ) from error


def with_array_type(values: torch.Tensor) -> torch.Tensor:
    """A tensor of which an array can be made: types that NumPy lacks, as bfloat16, as float32.

    Args:
        values: Any tensor.
    """
    is_known = values.dtype in _FLOATS or not values.is_floating_point()
    return values if is_known else values.float()


def _size(axis: int | torch.SymInt) -> int | str:
    return "any" if is_free(axis) else int(axis)


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray)


def _describe(value: Any) -> str:
    return f"{type(value).__name__} {tuple(value.shape)}" if _is_array(value) else repr(value)
