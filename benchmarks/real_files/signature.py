"""Inputs and outputs of two files: are names, types and axes the same?"""

from collections.abc import Collection
from pathlib import Path

import onnx

_OPEN = None


def differences(original: Path, written: Path, fixed: Collection[str] = ()) -> list[str]:
    """What a written file does not share with the float file, in words.

    An axis that has no name or a negative size in the float file may have any name. Inputs that
    were given a value are gone.
    """
    before, after = (
        onnx.load(path, load_external_data=False).graph for path in (original, written)
    )
    stored = {tensor.name for tensor in before.initializer}
    inputs = [value for value in before.input if value.name not in {*stored, *fixed}]
    return [
        *_compared("input", inputs, list(after.input)),
        *_compared("output", list(before.output), list(after.output)),
    ]


def _compared(
    kind: str, before: list[onnx.ValueInfoProto], after: list[onnx.ValueInfoProto]
) -> list[str]:
    names = [[value.name for value in values] for values in (before, after)]
    if names[0] != names[1]:
        return [f"{kind}s {names[0]} became {names[1]}"]
    pairs = ((kind, a, b) for a, b in zip(before, after, strict=True))
    return [words for pair in pairs if (words := _difference(*pair))]


def _difference(kind: str, a: onnx.ValueInfoProto, b: onnx.ValueInfoProto) -> str:
    before, after = a.type.tensor_type, b.type.tensor_type
    if before.elem_type != after.elem_type:
        types = [onnx.TensorProto.DataType.Name(x.elem_type) for x in (before, after)]
        return f"{kind} {a.name}: {types[0]} became {types[1]}"
    old, new = _axes(before), _axes(after)
    if old is None or (new is not None and _fit(old, new)):
        return ""
    return f"{kind} {a.name}: {old} became {new}"


def _axes(value: onnx.TypeProto.Tensor) -> list[int | str | None] | None:
    if not value.HasField("shape"):
        return None
    return [_axis(axis) for axis in value.shape.dim]


def _axis(axis: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if axis.HasField("dim_value") and axis.dim_value >= 0:
        return axis.dim_value
    return axis.dim_param or _OPEN


def _fit(old: list[int | str | None], new: list[int | str | None]) -> bool:
    if len(old) != len(new):
        return False
    pairs = zip(old, new, strict=True)
    return all(not isinstance(b, int) if a is _OPEN else a == b for a, b in pairs)
