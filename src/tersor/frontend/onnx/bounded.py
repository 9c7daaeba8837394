"""Computes parts that read only stored values, with a bound on memory and on time.

What onnxruntime computes cannot be counted before, so it is bounded while it is done.
"""

from collections.abc import Sequence
from functools import cache
from threading import Timer
from typing import Any

import numpy as np
import onnxruntime as ort

from tersor.graph.carried_model import decode, libraries, load

_BYTES = 1 << 31
_SECONDS = 10.0


def compute_bounded(text: str, _: Sequence[np.ndarray]) -> list[Any]:
    """Compute a part without inputs.

    Args:
        text: The part; see `tersor.graph.carried_model`.

    Raises:
        UnsupportedError: onnxruntime cannot load it.
        Exception: Whatever onnxruntime raises, also where memory or time are not enough.
    """
    _share_memory()
    session = load(decode(text), libraries(), optimize=False, pooled=True)
    how = ort.RunOptions()
    timer = Timer(_SECONDS, setattr, (how, "terminate", True))
    timer.start()
    try:
        return list(session.run(None, {}, how))
    finally:
        timer.cancel()


@cache
def _share_memory() -> None:
    """Give such sessions one pool of memory, once per process: only a pool can be bounded."""
    limits = {"max_mem": _BYTES, "arena_extend_strategy": 1}
    limits |= {"initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(limits))
