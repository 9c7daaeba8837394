"""What a program is expected to compute, behind it in its file, where ExecuTorch does not look.

program, mark, its outputs of four inputs and its digest   (see `tersor.export.evidence`)
"""

import hashlib
from pathlib import Path

from tersor.export.evidence import Evidence, expected, judged, without_proof
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.export.expected_outputs import as_text, from_text
from tersor.graph.network import Network

_MARK = b"\ntersor.expected "


def leave_behind(path: Path, network: Network) -> None:
    """Write behind a program what it computes of four inputs.

    Args:
        path: The `.pte` file, complete.
        network: What it was written from.
    """
    kept = expected(lambda: ExecuTorchRuntime(path, threads=1), network)
    text = as_text(kept, _digest(path.read_bytes()))
    with path.open("ab") as file:
        file.write(_MARK + text.encode())


def examine_program(path: str | Path) -> Evidence:
    """Look at what a program says of itself, and run it.

    Args:
        path: The file.

    Raises:
        InvalidInputError: It carries no proof.
    """
    path = Path(path)
    content = path.read_bytes() if path.is_file() else b""
    program, mark, text = content.rpartition(_MARK)
    if not mark:
        raise without_proof(path)
    kept, wrong = from_text(text.decode(errors="replace"), _digest(program))
    if wrong:  # a damaged program may end the process that loads it
        return Evidence((wrong,), nothing="it is not run")
    return judged([], (kept, ""), lambda: ExecuTorchRuntime(path, threads=1))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
