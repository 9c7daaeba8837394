"""Computes an ONNX file without inputs, as a program of its own that the system bounds.

    python -P aside.py BYTES SECONDS LIBRARY… < file.onnx > its outputs, in NumPy's format

It imports nothing of this package, so it starts in a tenth of a second.
"""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

_FATAL_ONLY = 4


def bound(size: int, seconds: int) -> None:
    """Let the system end this process when it takes more, where it can.

    Args:
        size: Bytes, beyond what the libraries take.
        seconds: Seconds of the processor, likewise.
    """
    with contextlib.suppress(ImportError, OSError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size += pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def main(size: str, seconds: str, *libraries: str) -> None:
    """Compute what comes in; an error is said on the other channel.

    Args:
        size: See `bound`.
        seconds: See `bound`.
        *libraries: Libraries of custom ops.
    """
    bound(int(size), int(seconds))
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        for library in libraries:
            options.register_custom_ops_library(library)
        content = sys.stdin.buffer.read()
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        found = session.run(None, {})
    except Exception as error:  # noqa: BLE001
        sys.exit(str(error) or type(error).__name__)
    for value in found:
        array = value if isinstance(value, np.ndarray) else np.array("no array")
        is_number = array.dtype.kind in "fiub"
        written = io.BytesIO()  # NumPy writes into files only where it can ask for the place
        np.lib.format.write_array(written, array if is_number else np.array("text"))
        sys.stdout.buffer.write(written.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
