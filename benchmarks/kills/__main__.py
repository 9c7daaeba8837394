"""Kill jobs at random moments, and at each step of writing a file, and run them again.

    python -m benchmarks.kills --kills 20

Each job runs once without a kill. Then it is killed at a random moment, and run again to its end:
files, records, logs and the folder of the run must be the same to the bit, with nothing left
behind, also where two processes work in one folder and one of them is killed. After each kill, the
file that lies there must be the old one or the new one, whole. The moments between two steps of
writing are all tried: the process kills itself when it is about to rename, remove or sync.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.kills.jobs import FILE, JOBS, PROGRAM, before, whole

_STEPS = ((Path, "replace"), (Path, "unlink"), (os, "fsync"))
_MOST_STEPS = 40


def main() -> None:
    """Run the jobs, and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", nargs="*", choices=JOBS, default=[*JOBS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    failed = [line for name in options.jobs for line in _job(name, options.kills)]
    print("\n".join(failed) or "all runs ended alike, and nothing was left behind")
    sys.exit(bool(failed))


def _job(name: str, kills: int) -> list[str]:
    rng = random.Random(name)  # noqa: S311
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        JOBS[name](_new(name, root / "imports"))  # what is loaded once is not part of the job
        began = time.monotonic()
        alone = _new(name, root / "whole")
        _wait(_start(name, alone))
        seconds, wanted = time.monotonic() - began, state(alone)
        old = _hash(_new(name, root / "old"))
        found: list[str] = []
        for kind, count in (("once", kills), ("in one folder", kills)):
            for number in range(count):
                folder = _new(name, root / f"{kind}-{number}")
                _killed(name, folder, rng.uniform(0, seconds), kind == "in one folder")
                found += _end(f"{name}, {kind}, {number}", name, folder, wanted, old)
        steps = 0
        while steps < _MOST_STEPS:
            folder = _new(name, root / f"step-{steps}")
            if _wait(_start(name, folder, steps)) == 0:
                break
            found += _end(f"{name}, before step {steps}", name, folder, wanted, old)
            steps += 1
        print(f"{name}: {seconds:.1f} s, {2 * kills} kills, {steps} steps, {len(found)} wrong")
        sys.stdout.flush()
        return found


def _killed(name: str, folder: Path, seconds: float, two: bool) -> None:
    """Kill the job; of two processes, one, while the other goes on to its end."""
    first = _start(name, folder)
    second = _start(name, folder) if two else None
    time.sleep(seconds)
    os.kill(first, signal.SIGKILL)
    _wait(first)
    if second is not None:
        _wait(second)


def _end(what: str, name: str, folder: Path, wanted: dict[str, str], old: str | None) -> list[str]:
    """Look at what was left, run the job to its end, and compare."""
    found = []
    left = _file(folder)
    if left.exists() and (_hash(folder) not in (old, wanted[left.name]) or not whole(left)):
        found.append(f"{what}: the file that was left is neither the old nor the new one")
    if code := _wait(_start(name, folder)):
        found.append(f"{what}: the run that went on ended with {code}")
    now = state(folder)
    different = [path for path in {**now, **wanted} if now.get(path) != wanted.get(path)]
    shutil.rmtree(folder)
    found += [f"{what}: {path!r} differs" for path in different]
    print(*found, sep="\n", end="\n" * bool(found), flush=True)
    return found


def _new(name: str, folder: Path) -> Path:
    (folder / "tmp").mkdir(parents=True)
    _wait(_fork(lambda: before(name, folder)))
    return folder


def _start(name: str, folder: Path, steps: int | None = None) -> int:
    """Start the job in a process of its own, which may end itself before a step."""

    def run() -> None:
        tqdm.set_lock(threading.RLock())  # PyTorch takes it; a killed process keeps a shared one
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        if steps is not None:
            _end_before(steps)
        JOBS[name](folder)

    return _fork(run)


def _end_before(step: int) -> None:
    """Let this process kill itself when it is about to do the step of this number."""
    left = [step]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    for owner, name in _STEPS:
        setattr(owner, name, counted(getattr(owner, name)))


def _fork(run: Callable[[], None]) -> int:
    process = os.fork()
    if process:
        return process
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
        run()
    except BaseException as error:  # noqa: BLE001
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def _wait(process: int) -> int:
    """How a process ended: 0 if it did its work."""
    return os.waitpid(process, 0)[1]


def _file(folder: Path) -> Path:
    """The file that a job writes."""
    program = folder / PROGRAM
    return program if program.exists() else folder / FILE


def _hash(folder: Path) -> str | None:
    path = _file(folder)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def state(folder: Path) -> dict[str, str]:
    """Every file by its name, with a digest of what it holds; of logs without the time.

    Args:
        folder: The folder.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and path.name != "tmp":
            found[f"{path.relative_to(folder)}/"] = ""
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".csv":
                content = b"\n".join(line.rpartition(b",")[0] for line in content.splitlines())
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


if __name__ == "__main__":
    main()
