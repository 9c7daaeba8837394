"""What a file returns for test samples, as a program, so that it can run without VNNI, too.

python -m benchmarks.peers.outputs FILE SAMPLES RESULT
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tersor.export.sessions.runtime import Runtime

_BATCH = 16
_HERE = "benchmarks.peers.outputs"


def main() -> None:
    """Write the first output of a file."""
    path, samples, result = map(Path, sys.argv[1:])
    with np.load(samples, allow_pickle=False) as arrays:
        inputs = dict(arrays)
    file = Runtime(path)
    count = len(next(iter(inputs.values())))
    parts = [
        file.numbers(file.feed({name: x[start : start + _BATCH] for name, x in inputs.items()}))[0]
        for start in range(0, count, _BATCH)
    ]
    np.save(result, np.concatenate(parts))


def outputs(path: Path, samples: Path, *, without_vnni: bool = False) -> np.ndarray:
    """What a file returns for samples.

    Args:
        path: The file.
        samples: An .npz file with one array for each input.
        without_vnni: Whether it runs as on a CPU without VNNI.

    Raises:
        RuntimeError: onnxruntime refuses the file; the last line of what it says.
    """
    result = path.with_suffix(".npy")
    first: Sequence[str] = ("benchmarks.without_vnni", _HERE) if without_vnni else (_HERE,)
    command = [sys.executable, "-m", *first, *map(str, (path, samples, result))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        raise RuntimeError(ended.stderr.strip().splitlines()[-1])
    found = np.load(result)
    result.unlink()
    return found


if __name__ == "__main__":
    main()
