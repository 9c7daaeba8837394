"""Looks at what a file says of itself; see `tersor.export.evidence.evidence`."""

from pathlib import Path

from tersor.errors import InvalidInputError
from tersor.export.evidence.evidence import Evidence, examine_onnx
from tersor.export.executorch.behind import examine_program
from tersor.export.pytorch.proof import examine_pt2
from tersor.export.serving import PROGRAM, PT2

_KINDS = {".onnx": examine_onnx, PROGRAM: examine_program, PT2: examine_pt2}


def examine(path: str | Path) -> Evidence:
    """Compare a file with its seal, run it, and compare what it computes with what it did.

    Args:
        path: The file.

    Raises:
        InvalidInputError: It is no file that Tersor writes, cannot be read, or carries no proof.
    """
    kind = _KINDS.get(Path(path).suffix)
    if kind is None:
        names = " and no ".join(_KINDS)
        raise InvalidInputError(
            f"{str(path)!r} is no {names} file; give one, or two to compare them"
        )
    return kind(path)
