"""NNCF in its own runtime, plain and with accuracy control, beside Tersor's file for OpenVINO.

All read the same float file and the same samples, and are judged in OpenVINO on one thread: the
score, SQNR against the float file there, the layers that it computes in integers, and the time of
one sample as a share of ours, in turns. Costs are those of `benchmarks.peers`.

    python -m benchmarks.peers.in_openvino
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import openvino
import torch

from benchmarks.harness.environment import KEPT, environment
from benchmarks.harness.table import Table, progress
from benchmarks.peers.judge import ratio
from benchmarks.peers.networks import NETWORKS
from benchmarks.peers.recipe import IN_OPENVINO, OURS_IN_OPENVINO, Recipe
from benchmarks.peers.run import Run, run
from benchmarks.peers.subject import Subject
from tersor.core.metrics import sqnr

_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
_LAYERS = {"Convolution", "FullyConnected", "MatMul"}
_TITLES = ("network", "program", "score (float)", "SQNR dB", "integer layers", "time", "kB")
_COSTS = ("CPU s", "peak MB", "statements")
_ROUNDS = 15
_BATCH = 16


class _File:
    """A file in OpenVINO."""

    def __init__(self, path: Path) -> None:
        self._compiled = openvino.Core().compile_model(str(path), "CPU", _OPTIONS)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """The first output for all samples."""
        parts = (x[start : start + _BATCH] for start in range(0, len(x), _BATCH))
        return np.concatenate([self._compiled(part)[0].copy() for part in parts])

    def seconds(self, x: np.ndarray) -> float:
        """Those of one run."""
        start = perf_counter()
        self._compiled(x)
        return perf_counter() - start

    def integer_layers(self) -> str:
        """Layers that OpenVINO computes in integers, of all."""
        infos = [op.get_rt_info() for op in self._compiled.get_runtime_model().get_ops()]
        layers = [info for info in infos if info["layerType"].astype(str) in _LAYERS]
        kernels = [str(info["primitiveType"].astype(str)) for info in layers]
        return f"{sum(kernel.endswith('_I8') for kernel in kernels)} of {len(kernels)}"


def main() -> None:
    """Print one row for each network and program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet20", "efficientnet_lite0"])
    parser.add_argument("--limit", type=int, default=2000, metavar="N", help="tested, at most")
    parser.add_argument("--environments", type=Path, default=KEPT, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    table = Table(args, *_TITLES, *_COSTS)
    for network in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            subject = NETWORKS[network](Path(folder), args.limit)
            runs = {x.name: _run(x, subject, args.environments) for x in IN_OPENVINO.values()}
            _add_rows(subject, runs, table)


def _path(recipe: Recipe, subject: Subject) -> Path:
    return subject.path.with_name(recipe.name + (".xml" if recipe.packages else ".onnx"))


def _run(recipe: Recipe, subject: Subject, environments: Path) -> Run:
    progress(subject.name, "·", recipe.name)
    python = sys.executable
    if recipe.packages:
        python = environment(environments / recipe.environment, recipe.packages)
    return run(recipe, python, str(subject.path), subject.samples, _path(recipe, subject))


def _add_rows(subject: Subject, runs: dict[str, Run], table: Table) -> None:
    paths = {
        name: _path(IN_OPENVINO[name], subject) for name, done in runs.items() if not done.said
    }
    files = {name: _File(path) for name, path in paths.items()}
    with np.load(subject.test, allow_pickle=False) as arrays:
        (x,) = arrays.values()
    wanted = _File(subject.path).outputs(x)
    times = {name: [] for name in files}
    for _ in range(_ROUNDS):
        for name, file in files.items():
            times[name].append(file.seconds(x[:1]))
    for name, done in runs.items():
        if done.said:
            table.add(subject.name, name, f"no result: {done.said}", *["–"] * 7)
            continue
        outputs = files[name].outputs(x)
        noise = sqnr(torch.from_numpy(wanted), torch.from_numpy(outputs))
        score, truth = (_score(subject, given) for given in (outputs, wanted))
        table.add(
            subject.name,
            name,
            f"{score:.2f} ({truth:.2f})",
            f"{noise:.1f}",
            files[name].integer_layers(),
            f"{ratio(times[name], times[OURS_IN_OPENVINO]):.2f}",
            f"{_bytes(paths[name]) / 1e3:,.0f}",
            f"{done.seconds:.1f}",
            f"{done.peak:,.0f}",
            str(IN_OPENVINO[name].statements),
            network=subject.name,
            program=name,
            score=score,
            sqnr=noise,
        )


def _score(subject: Subject, outputs: np.ndarray) -> float:
    return subject.score(subject.facts(outputs), np.arange(subject.count))


def _bytes(path: Path) -> int:
    """Those of a file, and of the weights that OpenVINO keeps beside it."""
    beside = path.with_suffix(".bin")
    return path.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)


if __name__ == "__main__":
    main()
