"""Top-1 after one short training with few bits: the plain call beside the one that names layers.

    python -m benchmarks.training.plain_call --models resnet20 --bits 4 --seeds 3

`plain` is `quantize(weights=4, activations=4, data=…)` and `train`. `named` gives the first and the
last layer and everything that is no layer 8 bits by name, and rounds to nearest. `everything` gives
few bits to all of them, and trains from the integers of the solver. A seed draws the calibration
images, orders the batches and draws the augmentation; no labels are used.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Table, progress
from benchmarks.training.task import TrainingTask
from benchmarks.zoo import MODELS
from tersor.api.quantize import quantize
from tersor.api.train import train
from tersor.quant.lsq import LSQ
from tersor.results.quantized import Quantized
from tersor.training.options import Training

TITLES = ("network", "bits", "call", "float", "before", "top-1", "±", "lost")
_SAMPLES = 1024
Call = Callable[[TrainingTask, int, int], Quantized]


def _plain(task: TrainingTask, bits: int, seed: int) -> Quantized:
    data = task.task.calibration(_SAMPLES, seed)
    return quantize(task.task.network, data=data, weights=bits, activations=bits)


def _named(task: TrainingTask, bits: int, seed: int) -> Quantized:
    return task.quantize(bits, "nearest", seed)


def _everything(task: TrainingTask, bits: int, seed: int) -> Quantized:
    data, few = task.task.calibration(_SAMPLES, seed), {"*": bits}
    return quantize(task.task.network, data=data, weights=few, activations=few)


CALLS: dict[str, tuple[Call, LSQ]] = {
    "plain": (_plain, LSQ()),
    "named": (_named, LSQ()),
    "everything": (_everything, LSQ(start="keep")),
}


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    table = Table(args, *TITLES)
    for name in args.models:
        task = TrainingTask.of(name, args.limit, args.images)
        floating = task.task.top1(task.task.network)
        for bits in args.bits:
            for call in args.calls:
                found = [_run(task, bits, call, seed, args) for seed in range(args.seeds)]
                before, after = map(list, zip(*found, strict=True))
                spread = statistics.stdev(after) if len(after) > 1 else 0.0
                mean = statistics.mean(after)
                figures = (floating, statistics.mean(before), mean, spread, floating - mean)
                cells = [f"{x:.2f}" for x in figures]
                table.add(name, str(bits), call, *cells, before=before, after=after)


def _run(
    task: TrainingTask, bits: int, call: str, seed: int, args: argparse.Namespace
) -> tuple[float, float]:
    """Top-1 before and after one training."""
    begin, quantizers = CALLS[call]
    start = begin(task, bits, seed)
    before = task.task.top1(start)
    options = Training(epochs=args.epochs, quantizers=quantizers, seed=seed)
    after = task.task.top1(train(start, task.batches(args.batch), options=options))
    progress(task.task.model.name, bits, call, "seed", seed, f"{before:.2f} → {after:.2f}")
    return before, after


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet20"])
    parser.add_argument("--bits", nargs="+", type=int, default=[4])
    parser.add_argument("--calls", nargs="+", choices=CALLS, default=[*CALLS])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images", type=int, default=4096, help="training images")
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
