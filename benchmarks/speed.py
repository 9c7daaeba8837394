"""Wall time of `tersor quantize` without data: the whole process, its steps, the passes alone.

The network is first saved as a `.pt2` file. The whole process starts from that file and ends with
the ONNX file written and verified; this is what a user waits for. The steps are timed apart.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

import torch
from torch.export import Dim

from benchmarks.harness import Table, arguments, progress
from benchmarks.zoo import MODELS, Model
from tersor.api.quantize import Quantized, quantize
from tersor.export.onnx.writer import export_onnx
from tersor.frontend.capture import capture
from tersor.frontend.load import load
from tersor.graph.simplify import fold
from tersor.passes.absorb import absorb
from tersor.passes.equalize import equalize


class Time(NamedTuple):
    """Wall seconds, and CPU seconds over all threads, which other programs disturb less."""

    wall: float
    cpu: float


class Stopwatch:
    """The time between one call and the next, under the name given to the first."""

    def __init__(self) -> None:
        self.times: dict[str, Time] = {}
        self._name, self._start = "", Time(0.0, 0.0)

    def __call__(self, name: str = "") -> None:
        """End what is running, and start something of this name."""
        now = Time(perf_counter(), process_time())
        if self._name:
            self.times[self._name] = Time(now.wall - self._start.wall, now.cpu - self._start.cpu)
        self._name, self._start = name, now


def main() -> None:
    """Print the table: one row per network and measurement."""
    parser = arguments(__doc__)
    parser.set_defaults(models=["efficientnet_lite0"])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    args = parser.parse_args()
    table = Table(args, "network", "what", "seconds", "CPU seconds")
    for name in args.models:
        rounds = []
        for number in range(args.rounds):
            progress(name, "round", number + 1)
            rounds.append(measure(MODELS[name]))
        for what in rounds[0]:
            wall, cpu = zip(*(times[what] for times in rounds), strict=True)
            cells = f"{median(wall):.2f}", f"{median(cpu):.2f}"
            table.add(name, what, *cells, network=name, what=what, wall=wall, cpu=cpu)


def measure(model: Model) -> dict[str, Time]:
    """All measurements, once."""
    with tempfile.TemporaryDirectory() as folder:
        file = save(model, Path(folder))
        return {
            "whole process": whole_process(model, file),
            "starting Python and importing": importing(),
            **steps(model, file),
            **passes(model),
        }


def save(model: Model, folder: Path) -> Path:
    """The network as a `.pt2` file."""
    program = torch.export.export(
        model.load(), (model.example(),), dynamic_shapes=({0: Dim("batch")},), strict=False
    )
    path = folder / f"{model.name}.pt2"
    torch.export.save(program, path)
    return path


def whole_process(model: Model, file: Path) -> Time:
    """The command."""
    command = Path(sys.executable).with_name("tersor")
    output, (low, high) = file.with_suffix(".onnx"), map(str, model.input_range)
    return _wait(str(command), "quantize", str(file), "-o", str(output), "--input-range", low, high)


def importing() -> Time:
    """A process that does nothing else."""
    return _wait(sys.executable, "-c", "import tersor.api.quantize")


def steps(model: Model, file: Path) -> dict[str, Time]:
    """Every step of the recipe, and of writing the file."""
    watch = Stopwatch()
    watch("load the .pt2 file")
    program, _ = load(file)
    quantized: Quantized = quantize(program, input_range=model.input_range, on_step=watch)
    watch("write the ONNX file")
    quantized.export(file.with_suffix(".onnx"))
    watch("write the float file, for verification")
    export_onnx(quantized.original, file.with_suffix(".float.onnx"))
    watch()
    return watch.times


def passes(model: Model) -> dict[str, Time]:
    """The passes, each by itself, and of all three."""
    network = capture(model.load(), model.example())
    watch = Stopwatch()
    for apply in (fold, equalize, absorb):
        watch(f"pass: {apply.__name__}")
        apply(network)
    watch()
    total = Time(*map(sum, zip(*watch.times.values(), strict=True)))
    return {**watch.times, "passes together": total}


def _wait(*command: str) -> Time:
    start, before = perf_counter(), getrusage(RUSAGE_CHILDREN)
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    wall, after = perf_counter() - start, getrusage(RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Time(wall, cpu)


if __name__ == "__main__":
    main()
