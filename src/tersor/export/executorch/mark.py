"""The end of a `.pte` file: what Tersor writes behind the program, where ExecuTorch does not look.

program, mark, its outputs of four inputs and its digest   (see `tersor.export.evidence.evidence`)
"""

import hashlib
from pathlib import Path
from typing import Any

from tersor.errors import InvalidInputError
from tersor.export.evidence.expected_outputs import as_text, from_text

_MARK = b"\ntersor.expected "


def write_mark(path: Path, kept: dict[str, Any]) -> None:
    """Write what a program is expected to compute, and its digest, behind it.

    Args:
        path: The file, with nothing behind the program yet.
        kept: What it is expected to compute.
    """
    text = as_text(kept, _digest(path.read_bytes()))
    with path.open("ab") as file:
        file.write(_MARK + text.encode())


def read_mark(content: bytes) -> tuple[dict[str, Any], str] | None:
    """What is behind a program, and what is wrong with it; None if there is nothing.

    Args:
        content: The file.
    """
    program, mark, text = content.rpartition(_MARK)
    return from_text(text.decode(errors="replace"), _digest(program)) if mark else None


def check_mark(path: Path) -> bytes:
    """The content of a file, unless that was changed: a damaged program may end the process.

    Args:
        path: The file.

    Raises:
        InvalidInputError: There is no such file, or it is not what was written.
    """
    if not path.is_file():
        raise InvalidInputError(f"there is no file {str(path)!r}")
    content = path.read_bytes()
    found = read_mark(content)
    if found is not None and found[1]:
        raise InvalidInputError(
            f"{str(path)!r} is not what was written ({found[1]}); copy or export it again"
        )
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
