"""A process for each architecture, forked from one that has imported the libraries."""

import multiprocessing as mp
import resource
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from benchmarks.breadth.results import Results

# Imported once instead of in every process; a library that is missing is passed over.
_PRELOAD = (
    "benchmarks.breadth.__main__",
    "benchmarks.breadth.measure",
    "onnxscript.function_libs.torch_lib.ops",
    "torch._dynamo",
    "torch.onnx._internal.exporter._core",
    "torchvision",
    "timm",
    "transformers",
)
_POLL = 1.0


@dataclass(frozen=True)
class Limits:
    """What one architecture may use.

    Attributes:
        seconds: Time.
        gib: Memory.
        threads: Threads.
    """

    seconds: int
    gib: int
    threads: int


@dataclass
class Job:
    """A running process, and what it has said so far."""

    library: str
    name: str
    process: ForkServerProcess
    connection: Connection
    deadline: float
    row: dict[str, Any]


def run_all(wanted: Iterable[tuple[str, str]], jobs: int, limits: Limits, results: Results) -> None:
    """Run architectures, several at a time, and add a row for each.

    Args:
        wanted: Library and name of each.
        jobs: Processes at a time.
        limits: For each process.
        results: Where the rows go.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOAD))
    waiting, running = list(wanted), list[Job]()
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(_start(context, *waiting.pop(0), limits))
        for job in _finished(running):
            running.remove(job)
            results.add(job.row)
            print(f"{len(waiting) + len(running):4d} left  {_line(job.row)}", flush=True)


def _start(context: Any, library: str, name: str, limits: Limits) -> Job:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, library, name, limits))
    process.start()
    theirs.close()
    row = {"library": library, "name": name, "stage": "start", "reason": "the process died"}
    return Job(library, name, process, ours, time.monotonic() + limits.seconds, row)


def _finished(running: list[Job]) -> Iterator[Job]:
    """Jobs that are over: they said so, they died, or their time is up."""
    wait([job.connection for job in running], _POLL)
    for job in list(running):
        if job.connection.poll():
            try:
                job.row |= job.connection.recv()
            except EOFError:
                job.row["reason"] = f"killed, exit code {_end(job)}: too much memory, or a crash"
        elif time.monotonic() > job.deadline:
            job.row["reason"] = "timeout"
            job.process.kill()
        else:
            continue
        _end(job)
        yield job


def _end(job: Job) -> int | None:
    job.process.join()
    return job.process.exitcode


def _line(row: dict[str, Any]) -> str:
    end = "" if row["stage"] == "done" else f"{row['stage']}: {row['reason'][:300]}"
    figures = {
        key: row.get(key) for key in ("sqnr", "median", "sqnr_exact", "ceiling", "sqnr_float")
    }
    shown = " ".join("-" if v is None else f"{v:.1f}" for v in figures.values())
    kernels = f"{row.get('integer')}/{row.get('layers')}"
    return f"{row['library']} {row['name']} {shown} {kernels} {row.get('seconds', 0):.0f} s {end}"


def _reason(error: BaseException) -> str:
    """The message, and the line of Tersor that it came from."""
    lines = str(error).strip().splitlines() or [""]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "tersor" in Path(frame.filename).parts]
    where = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {lines[0]}{where}"


def _work(connection: Connection, library: str, name: str, limits: Limits) -> None:
    """In the new process: measure, and send the figures."""
    from benchmarks.breadth.libraries import candidates
    from benchmarks.breadth.measure import Figures, measure

    size = limits.gib * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    figures = Figures()
    try:
        measure(candidates(library)[name], figures, limits.threads)
    except Exception as error:  # noqa: BLE001
        figures.reason = _reason(error)
    connection.send(figures.as_dict())
