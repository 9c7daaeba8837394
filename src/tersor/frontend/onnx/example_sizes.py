"""The sizes of the inputs that a file was made with, which it notes where it leaves axes open.

So a file can be read, and compared with another one, without anybody giving an example.
"""

import json
from collections.abc import Mapping

EXAMPLE = "tersor.example"  # in the metadata of a file
_LONGEST = 10_000  # characters of the note
Sizes = dict[str, tuple[int, ...]]


def as_note(sizes: Mapping[str, tuple[int, ...]]) -> str:
    """The sizes as text.

    Args:
        sizes: Name of an input → its sizes.
    """
    return json.dumps(dict(sizes))


def from_note(metadata: Mapping[str, str]) -> Sizes:
    """The sizes that a file notes, of the inputs where they make sense.

    Args:
        metadata: The metadata of the file.
    """
    text = metadata.get(EXAMPLE, "")
    try:
        found = json.loads(text) if len(text) < _LONGEST else {}
    except ValueError:
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: tuple(sizes) for name, sizes in pairs if _are_sizes(sizes)}


def _are_sizes(sizes: object) -> bool:
    return isinstance(sizes, list) and all(type(x) is int and 0 < x < 1 << 20 for x in sizes)


def filled(shape: tuple[int | str, ...], noted: tuple[int, ...]) -> tuple[int | str, ...]:
    """A shape with the noted sizes for its open axes but the batch, if they fit it.

    Args:
        shape: Sizes, and names of open axes.
        noted: What the file notes for this input; empty if it notes nothing.
    """
    if len(noted) != len(shape) or any(
        isinstance(own, int) and own != size for own, size in zip(shape[1:], noted[1:], strict=True)
    ):
        return shape
    return (*shape[:1], *noted[1:])
