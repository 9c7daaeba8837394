"""Wall time of `tersor quantize` without data: the whole process, its steps, the passes alone.

The network is first saved as a `.pt2` file. The whole process starts from that file and ends with
the ONNX file written and verified; this is what a user waits for. The steps are timed apart.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch.export import Dim

from benchmarks.harness import Table, arguments, progress
from benchmarks.zoo import MODELS, Model
from tersor.export.onnx import export_onnx
from tersor.graph.capture import capture
from tersor.graph.load import load
from tersor.passes.absorb import absorb
from tersor.passes.equalize import equalize
from tersor.passes.fold import fold
from tersor.recipes import Quantized, quantize


class Stopwatch:
    """The seconds between one call and the next, under the name given to the first."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name, self._start = "", 0.0

    def __call__(self, name: str = "") -> None:
        """End what is running, and start something of this name."""
        now = perf_counter()
        if self._name:
            self.seconds[self._name] = now - self._start
        self._name, self._start = name, now


def main() -> None:
    """Print the table: one row per network and measurement."""
    parser = arguments(__doc__)
    parser.set_defaults(models=["efficientnet_lite0"])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    args = parser.parse_args()
    table = Table(args, "network", "what", "seconds")
    for name in args.models:
        progress(name)
        with tempfile.TemporaryDirectory() as folder:
            file = save(MODELS[name], Path(folder))
            runs = [
                {
                    "whole process": whole_process(file),
                    "starting Python and importing": importing(),
                    **steps(MODELS[name], file),
                    **passes(MODELS[name]),
                }
                for _ in range(args.rounds)
            ]
        for what in runs[0]:
            seconds = [run[what] for run in runs]
            table.add(
                name, what, f"{median(seconds):.2f}", network=name, what=what, seconds=seconds
            )


def save(model: Model, folder: Path) -> Path:
    """The network as a `.pt2` file."""
    program = torch.export.export(
        model.load(), (model.example(),), dynamic_shapes=({0: Dim("batch")},), strict=False
    )
    path = folder / f"{model.name}.pt2"
    torch.export.save(program, path)
    return path


def whole_process(file: Path) -> float:
    """Seconds of the command."""
    progress("whole process")
    command = Path(sys.executable).with_name("tersor")
    return _wait(str(command), "quantize", str(file), "-o", str(file.with_suffix(".onnx")))


def importing() -> float:
    """Seconds of a process that does nothing else."""
    return _wait(sys.executable, "-c", "import tersor.recipes")


def steps(model: Model, file: Path) -> dict[str, float]:
    """Seconds of every step of the recipe, and of writing the file."""
    progress("steps")
    watch = Stopwatch()
    watch("load the .pt2 file")
    program, _ = load(file)
    quantized: Quantized = quantize(program, input_range=model.input_range, on_step=watch)
    watch("write the ONNX file")
    quantized.export(file.with_suffix(".onnx"))
    watch("write the float file, for verification")
    export_onnx(quantized.original, file.with_suffix(".float.onnx"))
    watch()
    return watch.seconds


def passes(model: Model) -> dict[str, float]:
    """Seconds of the passes, each by itself, and of all three."""
    network = capture(model.load(), model.example())
    watch = Stopwatch()
    for apply in (fold, equalize, absorb):
        watch(f"pass: {apply.__name__}")
        apply(network)
    watch()
    return {**watch.seconds, "passes together": sum(watch.seconds.values())}


def _wait(*command: str) -> float:
    start = perf_counter()
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return perf_counter() - start


if __name__ == "__main__":
    main()
