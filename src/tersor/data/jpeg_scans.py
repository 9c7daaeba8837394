"""Counts the scans of a JPEG file: each goes over all pixels again, and takes a few bytes."""

import re
from collections.abc import Iterator
from pathlib import Path

from tersor.errors import InvalidInputError

_MOST = 100  # a camera or a web site writes at most 12
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # the others belong to a scan
_START, _SCAN, _END = 0xD8, 0xDA, 0xD9


def check_scans(path: Path) -> None:
    """Refuse a JPEG file of so many scans that it would take minutes.

    Args:
        path: The file.

    Raises:
        InvalidInputError: It has too many.
    """
    scans = sum(marker == _SCAN for marker in _markers(path.read_bytes()))
    if scans > _MOST:
        raise InvalidInputError(
            f"it has {scans:,} scans, and at most {_MOST} are read; save it as another JPEG"
        )


def _markers(content: bytes) -> Iterator[int]:
    """The markers of the first picture in a file, in order; what follows it is not looked at."""
    found = _MARKER.search(content)
    while found is not None and found[1][0] != _END:
        marker, after = found[1][0], found.end()
        yield marker
        length = 0 if marker == _START else int.from_bytes(content[after : after + 2], "big")
        found = _MARKER.search(content, after + length)
