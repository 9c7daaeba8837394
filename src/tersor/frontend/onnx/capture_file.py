"""Captures an ONNX file: what the file leaves open stays open, under its own names."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.fx import traceback

from tersor.errors import InvalidInputError, TersorError
from tersor.frontend.axes import BATCH, FIXED, Axes, check_shared, named, names_of, with_batch
from tersor.frontend.explain import first_line
from tersor.frontend.given import Inputs, resized, sizes_of
from tersor.frontend.onnx.batch import free_batch
from tersor.frontend.onnx.evaluate import evaluate
from tersor.frontend.onnx.file_contents import Input, unnamed
from tersor.frontend.onnx.loops import bounded_loops
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.onnx.naming import name_like_file
from tersor.frontend.onnx.record_file import record_file
from tersor.frontend.onnx.settle import fix_axis, settle_branches, takes_other_branches
from tersor.frontend.open_axes import Opened, capture_open
from tersor.frontend.run_budget import RunBudget, bounded
from tersor.graph.network import Applied, Network, Record, Skipped

_SAMPLES = 5  # of which two are run, and at the same time three


def capture_file(model: OnnxModel, inputs: Inputs) -> Network:
    """Capture a file. Its batch is opened, too, if the file fixes it and that is exact.

    Args:
        model: The file.
        inputs: Its inputs in order.

    Raises:
        TersorError: The file does not run on the inputs, or cannot be captured.
    """
    axes = file_axes(model.inputs, inputs[0])
    sizes = {name: max(2, size) for name, size in sizes_of(inputs, axes).items()}
    stored = sum(x.nbytes for x in model.state_dict().values())
    budget = RunBudget(_SAMPLES * sum(x.nbytes for x in inputs[0]), stored)
    # each call carries its node's name
    with torch.no_grad(), traceback.preserve_node_meta(), bounded_loops(stored), bounded(budget):
        model = _settled(model, resized(inputs, axes, sizes))
        found = _capture(model, inputs, axes)
        axes, found = _joined(model, inputs, axes, found)
    network = found.network
    _fix_axes(model, inputs, axes, found)
    name_like_file(network, model)
    network.axes = named(found.axes)
    network.records += [*_told(model), *_records(model, inputs, axes, found)]
    return network


def _settled(model: OnnxModel, inputs: Inputs) -> OnnxModel:
    """Fold the branches that depend on sizes; what does not run is explained later."""
    try:
        return settle_branches(model, inputs[0])
    except Exception:  # noqa: BLE001
        return model


def _fix_axes(model: OnnxModel, inputs: Inputs, axes: Axes, found: Opened) -> None:
    """Fix the axes of the file that decide which branch of an `If` is taken."""
    if model.origin is None or not model.assumed:
        return
    for name, size in sizes_of(inputs, axes).items():
        if name not in found.reasons:
            continue
        if takes_other_branches(model, resized(inputs, axes, {name: 2 * size})[0]):
            for spec, open_axes in zip(model.inputs, axes, strict=True):
                for axis in (axis for axis, other in open_axes.items() if other == name):
                    fix_axis(model.origin.model, spec.name, axis, size)


def _told(model: OnnxModel) -> list[Record]:
    """Say which inputs and branches were fixed."""
    fixed = [
        Applied(name, "fix", f"it has the value {value} and is no input of the new file")
        for name, value in model.fixed.items()
    ]
    branches = [
        Applied(name, "fix", "If: its branch is the one for sizes as in the example")
        for name in model.assumed
    ]
    return [*fixed, *branches]


def file_axes(inputs: Sequence[Input], given: Sequence[Tensor]) -> Axes:
    """Find the axes that a file leaves open.

    Args:
        inputs: The inputs of the file.
        given: A value for each of them.

    Raises:
        InvalidInputError: Axes with the same name have different sizes.
    """
    found = tuple(
        {
            axis: size
            if size != unnamed(spec.name, axis)
            else _label(number, axis, x.shape[:1] == given[0].shape[:1])
            for axis, size in enumerate(spec.shape)
            if isinstance(size, str)
        }
        for number, (spec, x) in enumerate(zip(inputs, given, strict=True))
    )
    check_shared([x.name for x in inputs], [x.shape for x in given], found)
    return found


def _label(number: int, axis: int, is_as_long: bool) -> str:
    return BATCH if axis == 0 and is_as_long else f"?{number}.{axis}"


def _capture(model: OnnxModel, inputs: Inputs, axes: Axes) -> Opened:
    """Open the axes of the file, and its batch if that costs none of them."""
    batch, args = model.fixed_batch, inputs[0]
    if batch is None or len(args[0]) != batch or not free_batch(model, args):
        return _open(model, inputs, axes)
    try:
        found = _open(model, inputs, with_batch(axes, args))
    except TersorError:
        found = None
    if found is not None and not any(name in found.reasons for name in names_of(axes)):
        return found
    model.evaluate = evaluate
    as_it_is = _open(model, inputs, axes)
    return as_it_is if found is None or len(as_it_is.reasons) < len(found.reasons) else found


def _joined(model: OnnxModel, inputs: Inputs, axes: Axes, found: Opened) -> tuple[Axes, Opened]:
    """Take axes without names for the batch if they are as long, and none can vary alone.

    Such is the second axis of the state of a recurrent layer.
    """
    fixed, count = found.reasons, inputs[0][0].shape[:1]
    joined = tuple(
        {
            axis: BATCH if x.shape[axis : axis + 1] == count and _is_unnamed(name, fixed) else name
            for axis, name in open_axes.items()
        }
        for x, open_axes in zip(inputs[0], axes, strict=True)
    )
    if BATCH not in fixed or joined == axes:
        return axes, found
    try:
        again = _open(model, inputs, joined)
    except TersorError:
        return axes, found
    return (axes, found) if BATCH in again.reasons else (joined, again)


def _is_unnamed(name: str, fixed: Mapping[str, str]) -> bool:
    return name.startswith("?") and name in fixed


def _open(model: OnnxModel, inputs: Inputs, axes: Axes) -> Opened:
    try:
        return record_file(model, inputs, axes) or capture_open(model, inputs, axes)
    except TersorError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"the file does not run on the example: {first_line(error)}; give what it takes"
        ) from error


def _records(model: OnnxModel, inputs: Inputs, axes: Axes, found: Opened) -> Iterator[Skipped]:
    """Say which axes of the file had to be fixed."""
    for spec, x, open_axes in zip(model.inputs, inputs[0], axes, strict=True):
        for axis, name in open_axes.items():
            if name in found.reasons:
                what = f"axis {axis}" if name.startswith("?") else f"axis {name!r}"
                yield Skipped(
                    spec.name,
                    FIXED,
                    f"{what} is fixed at {x.shape[axis]}: {found.reasons[name]}",
                )
