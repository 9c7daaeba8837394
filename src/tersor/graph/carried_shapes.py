"""The shapes of what a carried part computes, without its inputs: also where sizes are free.

onnxruntime infers them from the shapes of the inputs, whose free sizes have names. Where it cannot,
as behind an `If`, the part is run on random numbers of two sizes. A size that is the same both
times is fixed, one that grew like a size of an input is that size, and any other depends on values.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import onnx

from tersor.errors import InvalidModelError, UnsupportedError
from tersor.graph.carried_model import CUT, decode, describe, libraries, load, run

Size = int | str | None
Shape = tuple[Size, ...]
#: onnxruntime's names of types → NumPy's; the others are the same in both.
_NUMPY = {"float": "float32", "double": "float64"}


@lru_cache(maxsize=1024)
def infer(
    text: str, inputs: tuple[Shape, ...], hints: tuple[tuple[str, int], ...]
) -> list[tuple[str, Shape]]:
    """The NumPy type and the shape of each output.

    Args:
        text: The part.
        inputs: Shape of each input: numbers, and names of free sizes.
        hints: Name of a free size → its size in the example.

    Returns:
        Type and shape: numbers, names of free sizes, and None for a size that depends on values.

    Raises:
        UnsupportedError: An output is no tensor, or onnxruntime cannot run the part.
    """
    model = onnx.ModelProto()
    model.CopyFrom(decode(text))
    for value, shape in zip(model.graph.input, inputs, strict=True):
        _set_shape(value, shape)
    outputs = load(model, libraries(), optimize=False).get_outputs()
    names = dict(hints)
    shapes = [_known(value.shape, names) for value in outputs]
    if any(not shape or None in shape for shape in shapes):
        probed = _probe(text, inputs, names)
        shapes = [_merge(a, b) for a, b in zip(shapes, probed, strict=True)]
    return [(_dtype(value, text), shape) for value, shape in zip(outputs, shapes, strict=True)]


def _set_shape(value: onnx.ValueInfoProto, shape: Shape) -> None:
    dims = value.type.tensor_type.shape
    dims.ClearField("dim")
    for size in shape:
        dim = dims.dim.add()
        if isinstance(size, str):
            dim.dim_param = size
        elif size is not None:
            dim.dim_value = size


def _known(shape: Sequence[Size], names: dict[str, int]) -> Shape:
    return tuple(size if isinstance(size, int) or size in names else None for size in shape)


def _merge(inferred: Shape, probed: Shape) -> Shape:
    if len(inferred) != len(probed):  # onnxruntime says `[]` of what it does not know
        return probed
    return tuple(b if a is None else a for a, b in zip(inferred, probed, strict=True))


def _dtype(value: object, text: str) -> str:
    kind = str(value.type)  # type: ignore[attr-defined]
    if not kind.startswith("tensor(") or kind == "tensor(string)":
        raise UnsupportedError(
            f"{describe(decode(text))} computes a value of type {kind}; only tensors of numbers "
            f"can leave a part that is carried over; {CUT}"
        )
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _NUMPY.get(name, name)


def _probe(text: str, inputs: tuple[Shape, ...], names: dict[str, int]) -> list[Shape]:
    """The shapes that the part computes at two sizes, as far as they can be told apart."""
    first = _run_at(text, inputs, names, seed=0)
    more = {name: size + 1 for name, size in names.items()}
    try:
        second = _run_at(text, inputs, more, seed=1)
    except InvalidModelError:  # sizes that do not go together
        return [(None,) * len(shape) for shape in first]
    if [len(shape) for shape in first] != [len(shape) for shape in second]:
        raise UnsupportedError(
            f"{describe(decode(text))} computes values with a number of axes that changes from "
            "one input to the next"
        )
    return [
        tuple(_match(a, b, names, more) for a, b in zip(before, after, strict=True))
        for before, after in zip(first, second, strict=True)
    ]


def _match(first: int, second: int, names: dict[str, int], more: dict[str, int]) -> Size:
    if first == second:
        return first
    found = [name for name in names if (names[name], more[name]) == (first, second)]
    return found[0] if len(found) == 1 else None


def _run_at(
    text: str, inputs: tuple[Shape, ...], names: dict[str, int], seed: int
) -> list[tuple[int, ...]]:
    generator = np.random.default_rng(seed)
    arrays = []
    for value, shape in zip(decode(text).graph.input, inputs, strict=True):
        sizes = [names[size] if isinstance(size, str) else int(size or 1) for size in shape]
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        numbers = np.asarray(generator.standard_normal(sizes))
        arrays.append(np.asarray(numbers if kind.kind == "f" else numbers > 0, dtype=kind))
    return [array.shape for array in run(text, arrays)]
