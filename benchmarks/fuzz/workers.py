"""A process that reads broken files, with limits of memory and time."""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.fuzz.kinds import KINDS
from benchmarks.fuzz.loop import Tally, fuzz

_BLOCK = 50  # inputs whose results are lost if the process dies
_PATIENCE = 300  # seconds
_MEMORY = 4 << 30  # beyond what the libraries take
_Clock = Any  # two shared numbers: of the input that is being read, and when that began


def run(name: str, numbers: range, seconds: float) -> Tally:
    """Read broken files in a process of its own. If it dies or hangs, another one goes on.

    Args:
        name: Kind of file.
        numbers: Numbers of the inputs.
        seconds: Stop after so many.
    """
    context = multiprocessing.get_context("fork")
    results, tally, until = context.Queue(), Tally(), time.monotonic() + seconds
    while numbers and time.monotonic() < until:
        clock = context.Array("d", [numbers.start, time.monotonic()])
        process = context.Process(target=_work, args=(name, numbers, clock, results))
        process.start()
        end = _wait(process, clock, results, tally, until)
        if end:
            tally.failures.append((int(clock[0]), end))
        numbers = range(int(clock[0]) + 1, numbers.stop if end else 0)
    return tally


def _wait(process: Any, clock: _Clock, results: Any, tally: Tally, until: float) -> str:
    """Collect results until the process ends; says how, if it was not by itself."""
    while process.is_alive() and time.monotonic() < until:
        time.sleep(0.5)
        _collect(results, tally)
        if time.monotonic() - clock[1] > _PATIENCE:  # it waits, or is where no signal arrives
            process.kill()
            return f"! more than {_PATIENCE} s"
    process.terminate() if process.is_alive() else process.join()
    _collect(results, tally)
    return f"! the process died: {process.exitcode}" if (process.exitcode or 0) else ""


def _collect(results: Any, tally: Tally) -> None:
    while not results.empty():
        found = results.get()
        tally.add(found)
        for number, what in found.failures:
            print(number, what, file=sys.stderr, flush=True)


def _work(name: str, numbers: range, clock: _Clock, results: Any) -> None:
    """Read the inputs in blocks, within the limits."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115

    def note(number: int) -> None:
        clock[:] = [number, time.monotonic()]

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for start in range(numbers.start, numbers.stop, _BLOCK):
            part = range(start, min(start + _BLOCK, numbers.stop))
            with tempfile.TemporaryDirectory() as work:
                results.put(fuzz(KINDS[name], part, Path(work), on_input=note))
