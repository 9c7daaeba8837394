"""What a program says of itself, in its archive, where PyTorch does not look.

extra/tersor.notes       names, sizes, and how layers are stored
extra/tersor.expected    its outputs of four inputs, and its digest   (see `tersor.export.evidence`)
"""

import hashlib
import zipfile
from pathlib import Path

from tersor.errors import InvalidInputError
from tersor.export.evidence.evidence import Evidence, expected, judged, without_proof
from tersor.export.evidence.expected_outputs import as_text, from_text
from tersor.export.pytorch.pt2_runtime import NOTES, Notes, PyTorchRuntime
from tersor.frontend.pt2 import check_stored
from tersor.graph.network import Network

_EXPECTED = "extra/tersor.expected"


def prove(path: Path, notes: Notes, network: Network) -> None:
    """Write notes into a program, and what it computes of four inputs.

    Args:
        path: The `.pt2` file.
        notes: The notes.
        network: What it was written from.
    """
    _append(path, NOTES, notes.as_text())
    kept = expected(lambda: _load(path), network)
    with zipfile.ZipFile(path) as archive:
        digest = _digest(archive)
    _append(path, _EXPECTED, as_text(kept, digest))


def examine_pt2(path: str | Path) -> Evidence:
    """Look at what a program says of itself, and run it, unless it was changed.

    Args:
        path: The file.

    Raises:
        InvalidInputError: It cannot be read at all, or it carries no proof.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_stored(archive, path.stat().st_size)
            text, digest = _expected(archive), _digest(archive)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise InvalidInputError(f"{str(path)!r} is no readable .pt2 file: {error}") from error
    if text is None:
        raise without_proof(path)
    kept, wrong = from_text(text, digest)
    if wrong:
        return Evidence((wrong,), nothing="it is not run")
    return judged([], (kept, ""), lambda: _load(path))


def _load(path: Path) -> PyTorchRuntime:
    """Call by call: a compiler would round as it likes on each machine."""
    return PyTorchRuntime(path, optimize=False, threads=1)


def _append(path: Path, name: str, text: str) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(zipfile.ZipInfo(f"{folder}/{name}"), text)


def _expected(archive: zipfile.ZipFile) -> str | None:
    names = [name for name in archive.namelist() if name.partition("/")[2] == _EXPECTED]
    return archive.read(names[0]).decode(errors="replace") if names else None


def _digest(archive: zipfile.ZipFile) -> str:
    """Of all that the archive holds but the expected outputs."""
    found = hashlib.sha256()
    for name in sorted(archive.namelist()):
        if name.partition("/")[2] != _EXPECTED:
            found.update(repr(name).encode() + hashlib.sha256(archive.read(name)).digest())
    return found.hexdigest()[:16]
