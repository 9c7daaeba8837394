"""Feed broken files to the readers: every one is read, or refused with a TersorError.

    python -m benchmarks.fuzz onnx --inputs 100000
    python -m benchmarks.fuzz pt2 --inputs 5000
    python -m benchmarks.fuzz npz --inputs 20000

Input number n is the same at every run. Workers have a limit of memory; an input may take ten
seconds; no file may appear, and nothing outside of the folder may be read.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import parser
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from benchmarks.harness.mutate import mutate_archive, mutate_bytes, mutate_onnx
from tersor.errors import TersorError
from tersor.export.inputs import load_inputs
from tersor.graph.capture import capture
from tersor.graph.explain import quiet
from tersor.graph.load import load
from tersor.graph.onnx.model import OnnxModel

SECONDS = 10
BLOCK = 200
MEMORY = 4 << 30  # beyond what the libraries take
SECRET = b"must never be read"
MODELS = (
    """<ir_version: 8, opset_import: ["": 17]>
    g (float[N, 3, 8, 8] x) => (float[N, 5] y) {
        a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)
        n = BatchNormalization (a, c, d, e, f)
        r = Relu (n)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        q = GlobalAveragePool (p)
        t = Flatten (q)
        y = Gemm <transB = 1> (t, v, z)
    }""",
    """<ir_version: 8, opset_import: ["": 13]>
    g (float[N, 6, 8] x) => (float[N, 2, 24] y) {
        m = MatMul (x, k)
        s = Shape (m)
        i = Constant <value = int64[1] {0}> ()
        h = Gather (s, i)
        l = Constant <value = int64[2] {2, 24}> ()
        o = Concat <axis = 0> (h, l)
        y0 = Reshape (m, o)
        y1 = Softmax <axis = -1> (y0)
        y = Mul (y1, y0)
    }""",
    """<ir_version: 10, opset_import: ["": 21]>
    g (float[2, 4, 6, 6] x, int64[2] j) => (float[2, 4, 12, 12] y, float[2, 4] z) {
        h, l = Split <axis = 1, num_outputs = 2> (x)
        c = Concat <axis = 1> (l, h)
        t = Transpose <perm = [0, 1, 3, 2]> (c)
        u = ConvTranspose <group = 2, strides = [2, 2], kernel_shape = [2, 2]> (t, u_w)
        y = Clip (u, lo, hi)
        e = Gather (table, j)
        ax = Constant <value = int64[2] {2, 3}> ()
        m = ReduceMean <keepdims = 0> (c, ax)
        z = Add (e, m)
    }""",
)
SHAPES = (
    {"w": (4, 3, 3, 3), "b": (4,), "c": (4,), "d": (4,), "e": (4,), "f": (4,)}
    | {"v": (5, 4), "z": (5,)},
    {"k": (8, 8)},
    {"u_w": (4, 2, 2, 2), "lo": (), "hi": (), "table": (3, 4)},
)


def onnx_files() -> list[bytes]:
    """Small sound ONNX files."""
    rng, found = np.random.default_rng(0), []
    for text, shapes in zip(MODELS, SHAPES, strict=True):
        model = parser.parse_model(text)
        for name, shape in shapes.items():
            array = np.asarray(rng.random(shape), np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        found.append(model.SerializeToString())
    return found


def pt2_files() -> list[bytes]:
    """A small saved program."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).eval()
    free = ({0: Dim.DYNAMIC},)
    program = torch.export.export(model, (torch.randn(2, 3, 6, 6),), dynamic_shapes=free)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return [buffer.getvalue()]


def npz_files() -> list[bytes]:
    """Data for a network with two inputs, compressed and not."""
    found = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, x=np.ones((5, 3, 4), np.float32), labels=np.arange(5))
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    np.save(buffer, np.ones((5, 3), np.float32))
    return [*found, buffer.getvalue()]


def read_onnx(path: Path, captures: bool) -> None:
    """Load the file, run its nodes on shapes alone, and sometimes capture it."""
    model, _ = load(path)
    assert isinstance(model, OnnxModel)
    stored = [np.asarray(value).tobytes() for value in model.constants.values()]
    if any(SECRET in content for content in stored):
        raise AssertionError("it read a file outside of the folder")
    inputs = model.arrange((), {})
    if captures:
        capture(model, inputs)
        return
    with quiet(), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        model(*inputs)


def read_pt2(path: Path, captures: bool) -> None:
    """Load the program, and sometimes make a network of it."""
    program, _ = load(path)
    if captures:
        capture(program)


def read_npz(path: Path, captures: bool) -> None:  # noqa: ARG001
    """Load the data."""
    load_inputs(path)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        suffix: Of its name.
        files: Makes sound ones.
        mutate: Breaks one.
        read: What is tested.
    """

    suffix: str
    files: Callable[[], list[bytes]]
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path, bool], None]


def _mutate_npz(content: bytes, rng: random.Random) -> bytes:
    mutate = mutate_archive if content.startswith(b"PK") else mutate_bytes
    return mutate(content, rng)


KINDS = {
    "onnx": Kind(".onnx", onnx_files, mutate_onnx, read_onnx),
    "pt2": Kind(".pt2", pt2_files, mutate_archive, read_pt2),
    "npz": Kind(".npz", npz_files, _mutate_npz, read_npz),
}


@dataclass
class Tally:
    """What became of the inputs.

    Attributes:
        outcomes: Name of the error, or "read" → number of inputs.
        failures: Number of the input and what went wrong.
        slowest: Seconds of the slowest input.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, other: "Tally") -> None:
        """Take the figures of another tally in."""
        self.outcomes += other.outcomes
        self.failures += other.failures
        self.slowest = max(self.slowest, other.slowest)


class Hang(BaseException):
    """An input took too long."""


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(
    kind: Kind,
    numbers: range,
    folder: Path,
    captured: int = 200,
    on_input: Callable[[int], None] | None = None,
) -> Tally:
    """Read broken files one after the other.

    Args:
        kind: Which.
        numbers: Numbers of the inputs.
        folder: An empty folder to work in.
        captured: Every so many inputs one is captured as well, if it can be read.
        on_input: Called with each number.
    """
    tally, sound = Tally(), kind.files()
    inside = folder / "inside"
    inside.mkdir()
    (folder / "outside.bin").write_bytes(SECRET * 100)
    (inside / "link.bin").symlink_to(folder / "outside.bin")
    (inside / "weights.bin").write_bytes(b"\0" * 64)
    path = inside / f"broken{kind.suffix}"
    path.touch()
    expected = _listing(folder)
    for number in numbers:
        rng = random.Random(number)  # noqa: S311
        path.write_bytes(kind.mutate(rng.choice(sound), rng))
        if on_input:
            on_input(number)
        start = time.perf_counter()
        outcome = _outcome(kind, path, number % captured == 0)
        tally.slowest = max(tally.slowest, time.perf_counter() - start)
        if _listing(folder) != expected:
            outcome = "! a stray file"
        tally.outcomes[outcome.partition(":")[0]] += 1
        if outcome.startswith("!"):
            tally.failures.append((number, outcome))
    return tally


def _listing(folder: Path) -> set[str]:
    return {str(file) for file in folder.rglob("*")} | {file.name for file in Path().iterdir()}


def _outcome(kind: Kind, path: Path, captures: bool) -> str:
    try:
        with _deadline(SECONDS):
            kind.read(path, captures)
    except TersorError as error:
        return type(error).__name__ if "\n" not in str(error) else f"! two lines: {error}"
    except (Exception, Hang) as error:  # noqa: BLE001
        return f"! {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return "read"


def _work(name: str, numbers: range, current: Any, results: Any) -> None:
    """Read a share of the inputs, in blocks, within the limits."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.stderr = io.StringIO()

    def note(number: int) -> None:
        current.value = number

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for start in range(numbers.start, numbers.stop, BLOCK):
            part = range(start, min(start + BLOCK, numbers.stop))
            with tempfile.TemporaryDirectory() as work:
                results.put(fuzz(KINDS[name], part, Path(work), on_input=note))


def run(name: str, numbers: range, workers: int, seconds: float) -> Tally:
    """Share the inputs among processes. A process that dies counts as a failure, and is replaced.

    Args:
        name: Kind of file.
        numbers: Numbers of the inputs.
        workers: Number of processes.
        seconds: Stop after so many.
    """
    context = multiprocessing.get_context("fork")
    results, tally, until = context.Queue(), Tally(), time.monotonic() + seconds
    share = -(-len(numbers) // workers)
    waiting = [numbers[start : start + share] for start in range(0, len(numbers), share)]
    running: list[tuple[Any, Any, range]] = []
    while (waiting or running) and time.monotonic() < until:
        for part in waiting:
            current = context.Value("q", part.start)
            process = context.Process(target=_work, args=(name, part, current, results))
            process.start()
            running.append((process, current, part))
        waiting = []
        time.sleep(0.5)
        while not results.empty():
            tally.add(results.get())
        for entry in [entry for entry in running if not entry[0].is_alive()]:
            running.remove(entry)
            process, current, part = entry
            if process.exitcode:
                tally.failures.append((current.value, f"! the process died: {process.exitcode}"))
                waiting.append(range(current.value + 1, part.stop))
    for process, _, _ in running:
        process.terminate()
    while not results.empty():
        tally.add(results.get())
    return tally


def main() -> None:
    """Run, and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("kind", choices=KINDS)
    arguments.add_argument("--inputs", type=int, default=1000)
    arguments.add_argument("--first", type=int, default=0)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--seconds", type=float, default=float("inf"))
    options = arguments.parse_args()
    numbers = range(options.first, options.first + options.inputs)
    tally = run(options.kind, numbers, options.workers, options.seconds)
    print(json.dumps(dict(tally.outcomes), indent=2))
    print(f"inputs {tally.outcomes.total()}, slowest {tally.slowest:.1f} s")
    for number, what in tally.failures[:20]:
        print(number, what)
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
