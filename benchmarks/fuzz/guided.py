"""Fuzz the readers guided by coverage: inputs that reach new code are kept, and broken further.

    pip install atheris
    python -m benchmarks.fuzz.guided onnx --seconds 600 --corpus corpus/onnx

The same files are broken in the same ways as by `benchmarks.fuzz`, or by libFuzzer in their bytes;
the same things count as failures. A process reads some thousands of inputs, and the next goes on
with what they found. What fails is kept beside the corpus.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import typing
import warnings
from collections import Counter
from contextlib import suppress
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

_MEMORY = 4 << 30  # beyond what the libraries take
_COUNTED = "outcomes.json"
_LARGEST = 1 << 16  # bytes of an input
_BLIND = 0.2  # share of the inputs that libFuzzer changes in its own way
_SOUND = 0.5  # share of the others that are made of a sound file: what was kept is mostly refused


def main() -> None:
    """Start one process after the other, and add up what they say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--inputs", type=int, default=5000, help="of one process")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        _inside(options.kind, options.inputs, options.first, options.corpus.absolute())
    options.corpus.mkdir(parents=True, exist_ok=True)
    tally, until, seed = Counter[str](), time.monotonic() + options.seconds, options.first
    while time.monotonic() < until:
        tally += _process(options, seed)
        seed += 1
        print(json.dumps({"processes": seed - options.first, "inputs": tally.total(), **tally}))
        sys.stdout.flush()


def _process(options: Any, seed: int) -> Counter[str]:
    """One process; how it ended is told if it was not by itself."""
    counted = options.corpus / _COUNTED
    counted.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.fuzz.guided", options.kind, "--inside"]
    command += ["--inputs", str(options.inputs), "--first", str(seed)]
    done = subprocess.run(  # noqa: S603
        [*command, "--corpus", str(options.corpus)], capture_output=True, text=True, check=False
    )
    for line in done.stderr.splitlines():
        if line.startswith("!"):
            print(line, file=sys.stderr, flush=True)
    found = Counter[str](json.loads(counted.read_text()) if counted.exists() else {})
    if done.returncode:
        print(f"seed {seed}: exit {done.returncode}\n{done.stderr[-1500:]}", file=sys.stderr)
        found["! the process died"] += 1
    return found


def _inside(name: str, inputs: int, seed: int, corpus: Path) -> None:
    """Read inputs with the code of Tersor watched."""
    warnings.simplefilter("ignore")
    import atheris  # pyright: ignore[reportMissingImports]
    import torch
    from torch._export.serde import schema, serialize

    with atheris.instrument_imports(include=["tersor"]):
        from benchmarks.fuzz.kinds import KINDS
        from benchmarks.fuzz.loop import fuzz_one
    torch.set_num_threads(1)
    hints = cache(partial(get_type_hints, globalns=schema.__dict__))  # half of the time of `.pt2`
    known = {**vars(typing), "get_type_hints": lambda kind, **_: hints(kind)}
    serialize.__dict__["typing"] = SimpleNamespace(**known)
    kind, tally = KINDS[name], Counter[str]()
    sound = kind.files()
    for number, content in enumerate(sound):
        (corpus / f"sound-{number}").write_bytes(content)
    _limit_memory()
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    path = folder / f"broken{kind.suffix}"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        outcome = fuzz_one(kind, path, tally.total() % 200 == 0)
        if [file.name for file in folder.iterdir()] != [path.name]:
            outcome = "! a stray file"
        tally[outcome.partition(":")[0]] += 1
        if outcome.startswith("!"):
            kept = corpus.parent / f"failure-{name}-{sha256(content).hexdigest()[:12]}"
            kept.write_bytes(content)
            print(outcome, kept, file=sys.stderr, flush=True)
        if tally.total() % 100 == 0 or tally.total() >= inputs:
            (corpus / _COUNTED).write_text(json.dumps(tally))

    def change(content: bytes, largest: int, number: int) -> bytes:
        rng = random.Random(number)  # noqa: S311
        if rng.random() > _BLIND:
            content = rng.choice(sound) if rng.random() < _SOUND else content
            with suppress(Exception):  # it can no longer be read, so its bytes are changed
                return kind.mutate(content, rng)[:largest]
        return atheris.Mutate(content, largest)

    limits = [f"-runs={inputs}", f"-seed={seed}", f"-max_len={_LARGEST}", "-timeout=600"]
    limits += ["-rss_limit_mb=0", f"-artifact_prefix={corpus.parent}/"]
    atheris.Setup([name, *limits, str(corpus)], read, custom_mutator=change)
    atheris.Fuzz()


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
