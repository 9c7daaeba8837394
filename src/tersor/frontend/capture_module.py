"""Captures a PyTorch module with a free batch, and with other open axes where they are asked for.

Where the batch cannot be free, it is the example's, and a record says why.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tersor.errors import CaptureError, InvalidInputError, TersorError, UnsupportedError
from tersor.frontend.axes import BATCH, FIXED, Axes, named, names_of, only, with_batch
from tersor.frontend.dynamic import Dynamic, asked_axes
from tersor.frontend.explain import explain, first_line, line
from tersor.frontend.exporting import check_same, make_network
from tersor.frontend.given import (
    Inputs,
    batch_size,
    failure,
    resized,
    run,
    tensor_names,
    tensors,
)
from tersor.frontend.open_axes import Opened, capture_open
from tersor.frontend.picture_sizes import open_pictures, picture_axes
from tersor.graph.network import Network, Skipped


def capture_module(model: nn.Module, inputs: Inputs, dynamic: Dynamic | None = None) -> Network:
    """Capture a module.

    Args:
        model: The module, in inference mode.
        inputs: Its inputs.
        dynamic: The axes that must be open, besides the batch.

    Raises:
        TersorError: The module does not run on the inputs, cannot be captured, or an axis that was
            asked for cannot be open.
    """
    if dynamic is not None:
        return _with_axes(model, inputs, dynamic)
    try:
        return _with_free_batch(model, inputs)
    except CaptureError as error:
        return _with_more_care(model, inputs, error)


def at_least_two(inputs: Inputs) -> Inputs:
    """Repeat the samples of a batch of 1, which `torch.export` would treat as fixed.

    Args:
        inputs: Positional and keyword inputs.
    """
    found = tensors(inputs)
    axes = with_batch(tuple({} for _ in found), found)
    return resized(inputs, axes, {BATCH: max(2, batch_size(inputs))})


def _with_free_batch(model: nn.Module, inputs: Inputs) -> Network:
    expected, inputs = _run_at_two(model, inputs)
    axes, network = _own_axes(inputs), None
    sizes, reasons = picture_axes(model, inputs), dict[str, str]()
    if any(sizes):
        network, axes, reasons = open_pictures(model, expected, inputs, axes, sizes)
    if network is None:
        network = make_network(model, expected, inputs, axes, needed=(BATCH,))
    network.axes = _names(axes)
    network.records += _fixed_sizes(tensor_names(model.forward, inputs), inputs, sizes, reasons)
    return network


def _fixed_sizes(
    names: list[str], inputs: Inputs, sizes: Axes, reasons: Mapping[str, str]
) -> list[Skipped]:
    """Say which heights and widths of pictures are fixed, and why."""
    found = []
    for owner, x, own in zip(names, tensors(inputs), sizes, strict=True):
        fixed = {axis: name for axis, name in own.items() if name in reasons}
        if fixed:
            what = " and ".join(name.partition("_")[0] for name in fixed.values())
            shown = " × ".join(str(x.shape[axis]) for axis in fixed)
            why = reasons[next(iter(fixed.values()))].rstrip(".")
            verb = "are" if len(fixed) > 1 else "is"
            found.append(Skipped(owner, FIXED, f"the {what} {verb} fixed at {shown}: {why}"))
    return found


def _with_more_care(model: nn.Module, inputs: Inputs, error: CaptureError) -> Network:
    """Capture after the model has seen other sizes, or else with the batch of the example.

    A model that remembers the sizes of its last call seems to depend on them.
    """
    axes = _own_axes(inputs)
    try:
        found = _opened(model, inputs, axes)
    except Exception:  # noqa: BLE001 - then it was not the batch
        raise error from error.__cause__
    if BATCH in found.reasons:
        found.reasons[BATCH] = f"with a free one {first_line(error)}"
    return _finished(found, tensor_names(model.forward, inputs), axes)


def _with_axes(model: nn.Module, inputs: Inputs, dynamic: Dynamic) -> Network:
    """Capture with all the axes that the caller asked for, or say which cannot be open."""
    names = tensor_names(model.forward, inputs)
    asked = asked_axes(dynamic, names, tensors(inputs))
    axes = _merged(_own_axes(inputs), asked)
    try:
        found = _opened(model, inputs, axes)
    except TersorError:
        raise
    except Exception as error:
        raise _does_not_run(error, inputs) from error
    _check_open(found, asked, names)
    return _finished(found, names, axes)


def _opened(model: nn.Module, inputs: Inputs, axes: Axes) -> Opened:
    """Open as many axes as possible; a batch that cannot be open is that of the example."""
    found = capture_open(model, inputs, axes)
    if why := found.reasons.get(BATCH):
        others = [name for name in names_of(axes) if name != BATCH]
        found = capture_open(model, inputs, only(axes, others))
        found.reasons = {BATCH: why, **found.reasons}
    elif names_of(found.axes) == [BATCH]:  # several axes have been checked at other sizes
        _check_another_batch(model, inputs, found)
    return found


def _check_another_batch(model: nn.Module, inputs: Inputs, found: Opened) -> None:
    more = resized(inputs, found.axes, {BATCH: batch_size(inputs) + 2})
    check_same(found.network, run(model, more), more)


def _finished(found: Opened, names: list[str], axes: Axes) -> Network:
    """The network with the names of its axes, and a record of each fixed batch."""
    network = found.network
    network.axes = _names(found.axes)
    given = tensors((network.args, network.kwargs))
    if why := found.reasons.get(BATCH):
        network.records += [
            Skipped(owner, FIXED, f"the batch is fixed at {x.shape[0]}: {why.rstrip('.')}")
            for owner, x, own in zip(names, given, axes, strict=True)
            if own.get(0) == BATCH
        ]
    return network


def _check_open(found: Opened, asked: Axes, names: list[str]) -> None:
    for owner, axes in zip(names, asked, strict=True):
        for axis, name in axes.items():
            if name in found.reasons:
                why = found.reasons[name].rstrip(".")
                raise CaptureError(
                    f"axis {axis} of input {owner!r}, {name!r}, cannot be open: {why}. Leave it "
                    "out of dynamic=, and it has the size of the example"
                )


def _own_axes(inputs: Inputs) -> Axes:
    """The batch; in text inputs, which are integers, also lengths that the model leaves free."""
    found = tensors(inputs)
    lengths = [() if x.is_floating_point() or x.is_complex() else range(1, x.ndim) for x in found]
    more = [{axis: f"?{i}.{axis}" for axis in axes} for i, axes in enumerate(lengths)]
    batch = with_batch(tuple({} for _ in found), found)
    return tuple({**x, **y} if x else x for x, y in zip(batch, more, strict=True))


def _merged(own: Axes, asked: Axes) -> Axes:
    """Add what was asked for; all inputs share the batch, so its name is that of the first one."""
    batch = asked[0].get(0, BATCH)
    both = (
        {**{k: batch if name == BATCH else name for k, name in x.items()}, **more}
        for x, more in zip(own, asked, strict=True)
    )
    return tuple(dict(sorted(x.items())) for x in both)


def _names(axes: Axes) -> Axes:
    """The names in exported files: a batch that nobody named is `batch`, if nothing else is."""
    batch = BATCH if "batch" in names_of(axes) else "batch"
    return named(tuple({k: batch if n == BATCH else n for k, n in x.items()} for x in axes))


def _run_at_two(model: nn.Module, inputs: Inputs) -> tuple[Any, Inputs]:
    """Run the model on the example with a batch of at least 2; return the output and that example.

    `torch.export` would treat a batch of 1 as fixed.
    """
    repeated = at_least_two(inputs)
    try:
        return run(model, repeated), repeated
    except Exception as error:
        if isinstance(error, UnsupportedError):
            raise
        if failure(model, inputs) is None:
            raise CaptureError(explain(error, other_batch=error)) from error
        if isinstance(error, TersorError):
            raise
        raise _does_not_run(error, inputs) from error


def _does_not_run(error: Exception, inputs: Inputs) -> InvalidInputError:
    shapes = [tuple(x.shape) for x in tensors(inputs)]
    return InvalidInputError(
        f"the model does not run on the example (shapes {shapes}){line(error)}: "
        f"{first_line(error)}; give what the model takes, the batch first"
    )
