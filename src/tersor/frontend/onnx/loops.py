"""Bounds what the loops of a file take while it is captured.

A part with graphs inside, which onnxruntime computes, may go on without an end and gather any
number of values. It is ended between two of its nodes, and its memory is that of one pool.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from threading import Event, Thread
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tersor.frontend.onnx.branches import graphs_in
from tersor.graph.carried_model import compute, computing, decode, libraries, load

_BYTES = 1 << 31
_SECONDS = 6.0  # of the processor, for all runs of a file
_PER_SECOND = 1 << 20  # bytes of stored values for which they may take one more
_EVERY = 0.1  # seconds of a clock


@contextmanager
def bounded_loops(stored: int) -> Iterator[None]:
    """Bound what parts with graphs inside take, as long as it lasts.

    Args:
        stored: Bytes of the stored values of the file.
    """
    before = computing.set(_Loops(_SECONDS + stored / _PER_SECOND).compute)
    try:
        yield
    finally:
        computing.reset(before)
        _session.cache_clear()


class _Loops:
    """Computes parts, those with graphs inside only as long as there is time.

    Attributes:
        seconds: Seconds of the processor that they may still take together.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def compute(self, text: str, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Compute a part; see `tersor.graph.carried_model.run`."""
        if not _has_graphs(decode(text)):
            return compute(text, arrays)
        session, how = _session(text, libraries()), ort.RunOptions()
        names = [value.name for value in session.get_inputs()]
        began, done = time.process_time(), Event()
        watch = Thread(target=self._end, args=(how, began + self.seconds, done), daemon=True)
        watch.start()
        try:
            return list(session.run(None, dict(zip(names, arrays, strict=True)), how))
        finally:
            self.seconds -= time.process_time() - began
            done.set()

    @staticmethod
    def _end(how: ort.RunOptions, until: float, done: Event) -> None:
        """End a run between two of its nodes when its time is over."""
        while not done.wait(_EVERY):
            if time.process_time() > until:
                how.terminate = True


def _has_graphs(part: onnx.ModelProto) -> bool:
    return any(graphs_in(a) for node in part.graph.node for a in node.attribute)


@lru_cache(maxsize=64)
def _session(text: str, used: tuple[str, ...]) -> ort.InferenceSession:
    _share_memory()
    return load(decode(text), used, pooled=True)


@cache
def _share_memory() -> None:
    """Give such sessions one pool of memory, once per process: only a pool can be bounded."""
    limits = {"max_mem": _BYTES, "arena_extend_strategy": 1}
    limits |= {"initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(limits))
