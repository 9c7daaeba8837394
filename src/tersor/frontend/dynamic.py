"""Checks which axes the caller wants open, as `dynamic={"x": {2: "height", 3: "width"}}`."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from tersor.errors import InvalidInputError
from tersor.frontend.axes import Axes, check_shared

#: Name of an input → axis → its name in the exported file.
Dynamic = Mapping[str, Mapping[int, str]]


def check_takes_axes(dynamic: Dynamic | None, what: str, advice: str) -> None:
    """Refuse open axes for something that has its own.

    Args:
        dynamic: What the caller asked for, or None.
        what: What has axes of its own.
        advice: What to do instead.

    Raises:
        InvalidInputError: Axes were asked for.
    """
    if dynamic is not None:
        raise InvalidInputError(
            f"dynamic= opens axes of PyTorch modules, and {what}; leave it out{advice}"
        )


def asked_axes(dynamic: Dynamic, names: Sequence[str], given: Sequence[Tensor]) -> Axes:
    """Check the axes that the caller wants open.

    Args:
        dynamic: Name of an input → axis → its name.
        names: Names of the inputs.
        given: The inputs.

    Returns:
        For each input: axis → name.

    Raises:
        InvalidInputError: There is no such input or axis, a name cannot be one, or axes of the same
            name have different sizes.
    """
    if not any(dynamic.values()):
        raise InvalidInputError(
            f"dynamic={dict(dynamic)} opens no axis; give some, as in {{{names[0]!r}: "
            "{0: 'batch'}}, or leave it out"
        )
    for name in dynamic:
        if name not in names:
            raise InvalidInputError(
                f"dynamic= names {name!r}, which is no input of the model; its inputs are "
                f"{', '.join(map(repr, names))}"
            )
    found = tuple(dict(dynamic.get(name, {})) for name in names)
    for name, x, axes in zip(names, given, found, strict=True):
        _check_axes(name, x, axes)
    check_shared(names, [x.shape for x in given], found)
    return found


def _check_axes(name: str, x: Tensor, axes: Mapping[int, str]) -> None:
    for axis, label in axes.items():
        if not 0 <= axis < x.ndim:
            raise InvalidInputError(
                f"dynamic= names axis {axis} of input {name!r}, which has shape {tuple(x.shape)}; "
                f"give an axis from 0 to {x.ndim - 1}"
                if x.ndim
                else f"dynamic= names axis {axis} of input {name!r}, which is a single number and "
                "has no axes; leave it out"
            )
        if not label.isidentifier():
            raise InvalidInputError(
                f"dynamic= calls axis {axis} of input {name!r} {label!r}; names consist of "
                "letters, digits and underscores, such as 'height'"
            )
