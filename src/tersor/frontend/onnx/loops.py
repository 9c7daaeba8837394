"""Bounds what the loops of a file take while it is captured.

A part with graphs inside, which onnxruntime computes, may go on without an end and gather any
number of values. It is ended between two of its nodes, and its memory is that of one pool.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from threading import Timer
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tersor.frontend.onnx.branches import graphs_in
from tersor.graph.carried_model import compute, computing, decode, libraries, load

_BYTES = 1 << 31
_SECONDS = 30.0  # of a clock


@contextmanager
def bounded_loops() -> Iterator[None]:
    """Bound what parts with graphs inside take, as long as it lasts."""
    before = computing.set(_compute)
    try:
        yield
    finally:
        computing.reset(before)
        _session.cache_clear()


def _compute(text: str, arrays: Sequence[np.ndarray]) -> list[Any]:
    if not _has_graphs(decode(text)):
        return compute(text, arrays)
    session, how = _session(text, libraries()), ort.RunOptions()
    names = [value.name for value in session.get_inputs()]
    timer = Timer(_SECONDS, setattr, (how, "terminate", True))
    timer.start()
    try:
        return list(session.run(None, dict(zip(names, arrays, strict=True)), how))
    finally:
        timer.cancel()


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
