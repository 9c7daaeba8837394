"""The open axes of a model's inputs, by name: which there are, and which other sizes to try.

Axes with the same name have the same size. A name that begins with `?` is none that anybody gave:
it only tells the axis from others.
"""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from tersor.errors import InvalidInputError

#: For each tensor among the inputs: axis → name.
Axes = tuple[Mapping[int, str], ...]

FIXED = "capture"  # the step in the records of axes that had to be fixed
BATCH = "?batch"  # the first axis of inputs that are as long as the first one
_LARGEST_STEP = 32  # what sizes of pictures are multiples of


def check_shared(names: Sequence[str], shapes: Sequence[Sequence[int]], axes: Axes) -> None:
    """Check that axes of the same name have the same size.

    Args:
        names: Names of the inputs.
        shapes: Their sizes.
        axes: Their open axes.

    Raises:
        InvalidInputError: They do not; names both inputs.
    """
    seen: dict[str, tuple[int, str]] = {}
    for owner, shape, open_axes in zip(names, shapes, axes, strict=True):
        for axis, name in open_axes.items():
            size, other = seen.setdefault(name, (shape[axis], owner))
            if size != shape[axis]:
                raise InvalidInputError(
                    f"axis {name!r} has size {size} in input {other!r} and {shape[axis]} in input "
                    f"{owner!r}; axes of the same name need the same size"
                )


def with_batch(axes: Axes, given: Sequence[Tensor]) -> Axes:
    """Open the first axis of all inputs that are as long as the first one.

    Args:
        axes: The axes that are open already.
        given: The inputs.
    """
    count = given[0].shape[0] if given and given[0].ndim else None
    return tuple(
        {0: BATCH, **found} if x.ndim and x.shape[0] == count else found
        for found, x in zip(axes, given, strict=True)
    )


def names_of(axes: Axes) -> list[str]:
    """The names of open axes, each once, in order.

    Args:
        axes: Open axes.
    """
    return list(dict.fromkeys(name for found in axes for name in found.values()))


def only(axes: Axes, names: Sequence[str]) -> Axes:
    """Keep the axes with some names.

    Args:
        axes: Open axes.
        names: The names to keep.
    """
    return tuple({k: name for k, name in found.items() if name in names} for found in axes)


def named(axes: Axes) -> Axes:
    """Keep the axes that somebody named.

    Args:
        axes: Open axes.
    """
    return tuple({k: name for k, name in x.items() if not name.startswith("?")} for x in axes)


def other_sizes(sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Other sizes at which to try a model: multiples of what they are multiples of, then any.

    Args:
        sizes: Name of an axis → its size, at least 2; the batch first.
    """
    yield {name: beside(size, number) for number, (name, size) in enumerate(sizes.items())}
    yield {name: size - 1 if size > 2 else size + 1 for name, size in sizes.items()}


def beside(size: int, number: int) -> int:
    """A size with the same powers of 2 in it, different for each number; for number 0 any.

    Args:
        size: The size, at least 1.
        number: The number of the axis.
    """
    step = min(size & -size, _LARGEST_STEP) if number else 1
    return size - step if number % 2 and size - step > 1 else size + step * max(1, number // 2)
