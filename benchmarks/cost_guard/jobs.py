"""The six jobs whose work is counted."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tersor
from benchmarks.cost_guard.network import network, samples


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: What it does.
        run: Does it once.
    """

    name: str
    run: Callable[[], object]


@contextmanager
def jobs() -> Iterator[list[Job]]:
    """Prepare the jobs; their files are removed at the end."""
    model, data = network(), samples(16)
    few = tersor.Compression(ratios=(0.7, 0.4))
    found = tersor.quantize(model, data[:2])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("float.onnx", "int8.onnx")]
        tersor.compress(model, data[:2], macs=1.0).export(files[0])
        yield [
            Job("inspect a file", lambda: tersor.inspect(files[0])),
            Job("quantize without data", lambda: tersor.quantize(model, data[:2])),
            Job("quantize a file with data", lambda: tersor.quantize(files[0], data=data)),
            Job("4-bit weights", lambda: tersor.quantize(model, data=data, weights=4)),
            Job("export", lambda: found.export(files[1])),
            Job("compress", lambda: tersor.compress(model, data=data, macs=0.6, options=few)),
        ]
