"""Names the free axes of an exported graph: as the user or the file did, or after their place."""

import re
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

_WORD = re.compile(r"[A-Za-z_]\w*")


def name_axes(model: ir.Model, given: Sequence[Mapping[int, str]] = ()) -> None:
    """Rename free axes to their names, or to `batch`, `length` or `axis_2` instead of `s77`.

    Args:
        model: The model; changed in place. Sizes that are computed from free ones follow.
        given: For each input, names of its free axes.
    """
    inputs = list(zip(model.graph.inputs, [*given, *[{}] * len(model.graph.inputs)], strict=False))
    names = _names(inputs)
    for node in model.graph:
        for value in node.outputs:
            _rename(value, names)
    for value, own in inputs:
        places = [position for position, _ in _free(value) if position in own]
        _rename(value, names)
        for position in places:
            _name_one(value, position, own[position])


def _names(inputs: Sequence[tuple[ir.Value, Mapping[int, str]]]) -> dict[str, str]:
    """The new name of each symbol."""
    found = [(value, own, *place) for value, own in inputs for place in _free(value)]
    names: dict[str, str] = {}
    for _, own, position, symbol in found:
        if position in own:
            names.setdefault(symbol, own[position])
    for value, _, position, symbol in found:
        if symbol not in names:
            names[symbol] = _made_up(value, position, names)
    return names


def _free(value: ir.Value) -> Iterator[tuple[int, str]]:
    for position, axis in enumerate(value.shape or ()):
        if isinstance(axis, ir.SymbolicDim) and axis.value and not axis.value.isdecimal():
            yield position, axis.value


def _name_one(value: ir.Value, position: int, name: str) -> None:
    shape = list(value.shape or ())
    value.shape = ir.Shape(name if i == position else axis for i, axis in enumerate(shape))


def _made_up(value: ir.Value, position: int, names: Mapping[str, str]) -> str:
    name = "batch" if position == 0 else f"axis_{position}"
    if position == 1 and value.dtype is not None and value.dtype.is_integer():
        name = "length"
    same = sum(taken == name or taken.startswith(f"{name}_") for taken in names.values())
    return f"{name}_{same}" if same else name


def _rename(value: ir.Value, names: Mapping[str, str]) -> None:
    if value.shape is not None:
        value.shape = ir.Shape(
            _size(_WORD.sub(lambda found: names.get(found[0], found[0]), str(axis.value)))
            if isinstance(axis, ir.SymbolicDim) and axis.value
            else axis
            for axis in value.shape
        )


def _size(text: str) -> int | str:
    """A number if it is one: an axis that turned out to be fixed is no free one."""
    return int(text) if text.isdecimal() else text
