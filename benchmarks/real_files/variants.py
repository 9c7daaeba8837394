"""The ways to quantize a file, each in a process of its own, so that its CPU seconds are known."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.real_files.entry import Entry
from benchmarks.real_files.session import Feed, Session
from tersor.data.invented.synthetic import is_picture_shape
from tersor.export.sessions.runtime import Runtime

#: Seconds that one command may take.
PATIENCE = 1200
_FUNCTION = '''"""Samples of several sizes, one at a time."""

from pathlib import Path

import numpy as np


def samples():
    """Read one file after the other."""
    for path in sorted(Path("{folder}").glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            yield dict(arrays)
'''


@dataclass(frozen=True)
class Made:
    """What one way to quantize has made of a file.

    Attributes:
        path: The quantized file, or None.
        seconds: CPU seconds of the command, of all its threads.
        said: What it printed; its last line if it failed.
    """

    path: Path | None
    seconds: float
    said: str

    @property
    def anew(self) -> str:
        """Why Tersor wrote a new file instead of editing the one that came in, if it did."""
        return json.loads(self.said)["anew"] if self.said.startswith("{") else ""


@dataclass(frozen=True)
class Work:
    """A file, its samples and a folder.

    Attributes:
        entry: The file's entry.
        original: The float file.
        feeds: What the file is run with on the samples for calibration.
        folder: Where everything is written.
    """

    entry: Entry
    original: Path
    feeds: list[Feed]
    folder: Path


def without_data(work: Work) -> Made:
    """The command line, with the file alone, and sizes where it leaves them open."""
    return _tersor(work, "no_data.onnx", [*example_options(work), *guess_options(work)])


def with_data(work: Work) -> Made:
    """The command line, with samples."""
    return _tersor(work, "data.onnx", data_options(work))


def static(work: Work) -> Made:
    """onnxruntime's `quantize_static`, with the same samples."""
    return _peer("static", work)


def dynamic(work: Work) -> Made:
    """onnxruntime's `quantize_dynamic`."""
    return _peer("dynamic", work)


VARIANTS: dict[str, Callable[[Work], Made]] = {
    "no data": without_data,
    "data": with_data,
    "static": static,
    "dynamic": dynamic,
}


def calibration(original: Path, entry: Entry, samples: Sequence[object]) -> list[Feed]:
    """What a file is run with while its package uses it on the samples for calibration."""
    session = Session(original, keep=True)
    for sample in samples[: entry.calibrate]:
        entry.use(session, sample)
    return session.feeds


def arguments(work: Work, path: Path, options: Sequence[str]) -> list[str]:
    """What follows the word `tersor`.

    Args:
        work: The file.
        path: Where the quantized file goes.
        options: Those of this way.
    """
    model = work.entry.module or str(work.original)
    return ["quantize", model, "-o", str(path), *work.entry.options, *options]


def data_options(work: Work) -> list[str]:
    """Write the samples, and name them."""
    return ["--data", _samples(work.feeds, work.folder)]


def example_options(work: Work) -> list[str]:
    """The shape of each input that is not fixed, if the file leaves more open than the batch."""
    axes = [axis for shape in Runtime(work.original).inputs.values() for axis in shape[1:]]
    if all(isinstance(axis, int) for axis in axes):
        return []
    fixed = work.entry.fixed
    shapes = [array.shape for name, array in work.feeds[0].items() if name not in fixed]
    return [word for shape in shapes for word in ("--example", ",".join(map(str, shape)))]


def guess_options(work: Work) -> list[str]:
    """The range of pictures is guessed: the file alone does not say it."""
    fed = work.feeds[0].values()
    has_pictures = any(x.dtype.kind == "f" and is_picture_shape(x.shape) for x in fed)
    return ["--guess"] if has_pictures else []


def _tersor(work: Work, name: str, options: Sequence[str]) -> Made:
    path = work.folder / name
    start = [sys.executable, "-c", "from tersor.cli import main; main()"]
    return _run([*start, *arguments(work, path, options), "--json"], path, work.folder)


def _peer(kind: str, work: Work) -> Made:
    path, feeds = work.folder / f"{kind}.onnx", work.folder / "feeds"
    _write_each(work.feeds, feeds)
    module = "benchmarks.real_files.peers"
    command = [sys.executable, "-m", module, kind, str(work.original), str(path), str(feeds)]
    return _run(command, path, work.folder)


def _samples(feeds: list[Feed], folder: Path) -> str:
    """One file where samples can be put behind each other, else a function that reads them."""
    shapes = {tuple((name, array.shape) for name, array in feed.items()) for feed in feeds}
    if len(shapes) == 1 and all(array.shape[:1] == (1,) for array in feeds[0].values()):
        path = folder / "samples.npz"
        arrays = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        np.savez(path, allow_pickle=False, **arrays)
        return str(path)
    _write_each(feeds, folder / "feeds")
    (folder / "real_samples.py").write_text(_FUNCTION.format(folder=folder / "feeds"))
    return "real_samples:samples"


def _write_each(feeds: list[Feed], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for number, feed in enumerate(feeds):
        np.savez(folder / f"{number:04}.npz", allow_pickle=False, **feed)


def _run(command: list[str], path: Path, folder: Path) -> Made:
    paths = [*(entry for entry in sys.path if entry), str(Path.cwd()), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(  # noqa: S603
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Made(None, float(PATIENCE), f"took more than {PATIENCE} seconds")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if path.exists():
        return Made(path, seconds, done.stdout)
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return Made(None, seconds, lines[-1])
