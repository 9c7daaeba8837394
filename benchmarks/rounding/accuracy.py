"""Top-1 of weights of few bits, by solver: simulation on the test data, over several seeds.

    python -m benchmarks.rounding.accuracy --models resnet20 resnet32 resnet56 --bits 4
    python -m benchmarks.rounding.accuracy --models resnet20 --bits 3 2 --ends 8 \
        --granularity tensor channel
    python -m benchmarks.rounding.accuracy --models resnet20 --solvers adaround --seeds 1
    python -m benchmarks.rounding.accuracy --models resnet20 --solvers adaround --iterations 1000 \
        --rate 0.01 --seeds 1 --bits 3 --ends 8

A seed draws the calibration images, and seeds the solver. Those of the CIFAR networks are training
images; for EfficientNet-Lite0 they are crops of photographs of COCO. All layers are quantized;
`--ends 8` gives the first and the last 8 bits.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.harness import Table, progress
from benchmarks.rounding.task import SCHEMES, Task
from benchmarks.zoo import MODELS
from tersor.quant.adaround import AdaRound
from tersor.quant.block_rounding import Blocks
from tersor.quant.fast_rounding import Rounding
from tersor.quant.levels import WithData

Run = tuple[float, float, float | None]  # top-1, CPU seconds, top-1 in onnxruntime
TITLES = (
    "network",
    "weights",
    "activations",
    "solver",
    "float",
    "top-1",
    "±",
    "drop",
    "runtime",
    "CPU s",
)
SOLVERS = {"nearest": None, "fast": Rounding(), "adaround": AdaRound(), "block": Blocks()}


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    table = Table(args, *TITLES)
    for name in args.models:
        task = Task.of(name, args.limit)
        floating = task.top1(task.network)
        for granularity in args.granularity:
            for bits in args.bits:
                for solver in args.solvers:
                    runs = _runs(task, bits, granularity, solver, args)
                    what = (name, f"{bits} per {granularity}", str(args.activations), solver)
                    _add(table, what, floating, runs)


def _runs(
    task: Task, bits: int, granularity: str, solver: str, args: argparse.Namespace
) -> list[Run]:
    """One run for each seed."""
    found = []
    for seed in range(args.seeds):
        progress(task.model.name, bits, granularity, solver, seed)
        options = WithData(rounding=_solver(solver, seed, args), samples=None)
        if args.no_equalization:
            options = replace(options, equalize=None)
        data = task.calibration(args.images, seed)
        weights = task.bits(bits, args.ends)
        outcome = task.round(weights, SCHEMES[granularity], data, options, args.activations)
        in_runtime = task.runtime_top1(outcome.quantized) if args.runtime and not seed else None
        found.append((task.top1(outcome.quantized), outcome.seconds, in_runtime))
    return found


def _solver(name: str, seed: int, args: argparse.Namespace) -> Rounding | AdaRound | Blocks | None:
    solver = SOLVERS[name]
    if solver is None:
        return None
    if args.iterations and not isinstance(solver, Rounding):
        solver = replace(solver, iterations=args.iterations)
    if args.rate and isinstance(solver, AdaRound):
        solver = replace(solver, learning_rate=args.rate)
    return replace(solver, seed=seed)


def _add(table: Table, what: tuple[str, ...], floating: float, runs: list[Run]) -> None:
    top1, seconds, (in_runtime, *_) = zip(*runs, strict=True)
    mean, spread = statistics.mean(top1), statistics.pstdev(top1)
    cells = [f"{x:.2f}" for x in (floating, mean, spread, floating - mean)]
    cells += ["–" if in_runtime is None else f"{in_runtime:.2f}", f"{statistics.mean(seconds):.1f}"]
    table.add(*what, *cells, what=what, runs=runs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet20"])
    parser.add_argument("--bits", nargs="+", type=int, default=[4])
    parser.add_argument("--ends", type=int, help="bits of the first and of the last layer")
    parser.add_argument("--activations", type=int, default=8, help="16 are as good as float")
    parser.add_argument("--granularity", nargs="+", choices=SCHEMES, default=["tensor"])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["nearest", "fast"])
    parser.add_argument("--iterations", type=int, help="of adaround and block")
    parser.add_argument("--rate", type=float, help="learning rate of adaround")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-equalization", action="store_true")
    parser.add_argument("--runtime", action="store_true", help="first seed in onnxruntime as well")
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
