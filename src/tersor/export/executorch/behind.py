"""What a program is expected to compute, kept in its file; see `tersor.export.evidence`."""

from pathlib import Path

from tersor.export.evidence.evidence import Evidence, expected, judged, without_proof
from tersor.export.executorch.loaded import ExecuTorchRuntime
from tersor.export.executorch.mark import read_mark, write_mark
from tersor.graph.network import Network


def leave_behind(path: Path, network: Network) -> None:
    """Write behind a program what it computes of four inputs.

    Args:
        path: The `.pte` file, complete.
        network: What it was written from.
    """
    write_mark(path, expected(lambda: ExecuTorchRuntime(path, threads=1), network))


def examine_program(path: str | Path) -> Evidence:
    """Look at what a program says of itself, and run it.

    Args:
        path: The file.

    Raises:
        InvalidInputError: It carries no proof.
    """
    path = Path(path)
    found = read_mark(path.read_bytes() if path.is_file() else b"")
    if found is None:
        raise without_proof(path)
    kept, wrong = found
    if wrong:  # a damaged program may end the process that loads it
        return Evidence((wrong,), nothing="it is not run")
    return judged([], (kept, ""), lambda: ExecuTorchRuntime(path, threads=1))
