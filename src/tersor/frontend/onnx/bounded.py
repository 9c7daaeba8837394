"""Computes parts that read only stored values, with a bound on memory and on time.

What onnxruntime computes cannot be counted before, and one node of it cannot be stopped. So it is
done in a process of its own, which the system ends.
"""

import io
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tersor.frontend.onnx import aside
from tersor.graph.carried_model import decode, libraries, load

_BYTES = 1 << 31
_SECONDS = 3  # of the processor
_PATIENCE = 60  # seconds of a clock


def compute_bounded(text: str, _: Sequence[np.ndarray]) -> list[Any]:
    """Compute a part without inputs.

    Args:
        text: The part; see `tersor.graph.carried_model`.

    Returns:
        Its results; None for one that is no tensor of numbers.

    Raises:
        UnsupportedError: onnxruntime cannot load it.
        Exception: Whatever onnxruntime raises, also where memory or time are not enough.
    """
    model = decode(text)
    load(model, libraries(), optimize=False)
    command = [sys.executable, "-P", aside.__file__, str(_BYTES), str(_SECONDS), *libraries()]
    done = subprocess.run(  # noqa: S603
        command,
        input=model.SerializeToString(),
        capture_output=True,
        check=False,
        timeout=_PATIENCE,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() if done.returncode > 0 else ""
        raise MemoryError(said or f"it takes more than {_SECONDS} seconds, or too much memory")
    content = io.BytesIO(done.stdout)
    read = (np.lib.format.read_array(content, allow_pickle=False) for _ in model.graph.output)
    found = [array.copy() for array in read]  # of a single number it returns what is read-only
    return [None if array.dtype.kind == "U" else array for array in found]
