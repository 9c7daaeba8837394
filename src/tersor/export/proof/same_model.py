"""Tells whether two files can be the same model, before their outputs are compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tersor.errors import InvalidInputError
from tersor.export.sessions.runtime import Runtime

Shapes = Mapping[str, Sequence[Any]]


def check_same_model(float_path: str | Path, runtime: Runtime) -> None:
    """Refuse two files that take or return different things.

    Args:
        float_path: The float file.
        runtime: The file that is compared with it.

    Raises:
        InvalidInputError: They are not the same model; names the first difference.
    """
    reference = Runtime(float_path)
    for kind, ours, theirs in (
        ("inputs", reference.inputs, runtime.inputs),
        ("outputs", reference.output_shapes, runtime.output_shapes),
    ):
        difference = _difference(ours, theirs)
        if difference is not None:
            raise InvalidInputError(
                f"{str(runtime.path)!r} is not the same model as {str(float_path)!r}: their {kind} "
                f"are {difference[1]} and {difference[0]}. Give the float file that it was made of"
            )


def _difference(ours: Shapes, theirs: Shapes) -> tuple[str, str] | None:
    """The first pair that cannot be the same, in words."""
    if len(ours) != len(theirs):
        return ", ".join(ours), ", ".join(theirs)
    for (name, shape), (other, found) in zip(ours.items(), theirs.items(), strict=True):
        fits = len(shape) == len(found) and all(
            have == want or not (isinstance(have, int) and isinstance(want, int))
            for have, want in zip(shape, found, strict=True)
        )
        if not fits:
            return f"{name} {_shown(shape)}", f"{other} {_shown(found)}"
    return None


def _shown(shape: Sequence[Any]) -> str:
    return f"[{', '.join(str(axis or 'any') for axis in shape)}]"
