"""What a training step with few bits costs, as a multiple of the float step.

    python -m benchmarks.training.cost --models resnet20 shufflenetv2_x0_5

A step is forward, cross-entropy and backward on one batch, in training mode; no optimizer, which is
the same for all, and no float network to distil from. The candidates take turns, so that all see
the same machine; the median of the ratios to the float step of the same turn counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import Table, progress
from benchmarks.training.task import TrainingTask
from benchmarks.zoo import MODELS
from tersor.training import trainable

Make = Callable[[TrainingTask, int, Tensor], nn.Module]


def floating(task: TrainingTask, bits: int, x: Tensor) -> nn.Module:
    """The float network, as its authors train it."""
    del bits, x
    return task.task.model.load().train()


def ours(task: TrainingTask, bits: int, x: Tensor) -> nn.Module:
    """LSQ+ with BatchNorm kept."""
    return trainable(task.quantize(bits, "nearest", 0), [x]).train()


def folded(task: TrainingTask, bits: int, x: Tensor) -> nn.Module:
    """LSQ+ with BatchNorm folded."""
    return trainable(task.quantize(bits, "nearest", 0), [x], batchnorm="folded").train()


CANDIDATES: dict[str, Make] = {
    "float": floating,
    "tersor": ours,
    "tersor, folded": folded,
}


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    table = Table(args, "network", "bits", "batch", "candidate", "CPU ms per step", "× float", "±")
    for name in args.models:
        task = TrainingTask.of(name, 100, args.batch)
        x, labels = task.inputs, task.labels
        models = {}
        for candidate, make in CANDIDATES.items():
            progress(name, candidate)
            models[candidate] = make(task, args.bits, x)
        seconds = _measure(models, x, labels, args.turns)
        for candidate, found in seconds.items():
            _add(table, (name, args.bits, args.batch), candidate, found, seconds["float"])


def _measure(
    models: dict[str, nn.Module], x: Tensor, labels: Tensor, turns: int
) -> dict[str, list[float]]:
    """CPU seconds of a step of each, turn by turn; the first turn warms up."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(turns + 1):
        for name, model in models.items():
            start = time.process_time()
            F.cross_entropy(model(x), labels).backward()
            if turn:
                found[name].append(time.process_time() - start)
            model.zero_grad(set_to_none=True)
    return found


def _add(
    table: Table, what: tuple[Any, ...], candidate: str, found: list[float], base: list[float]
) -> None:
    ratios = [a / b for a, b in zip(found, base, strict=True)]
    cells = f"{1000 * statistics.median(found):.0f}", f"{statistics.median(ratios):.2f}"
    spread = f"{statistics.stdev(ratios):.2f}" if len(ratios) > 1 else "–"
    table.add(*map(str, what), candidate, *cells, spread, what=what, seconds=found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet20"])
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
