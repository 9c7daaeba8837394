"""Top-1 under a budget of MACs: pruning, factorization and both, without data, with, and trained.

    python -m benchmarks.compression.budget --models resnet56 --macs 0.75 0.5 0.35
    python -m benchmarks.compression.budget --models resnet56 --macs 0.5 --levels 3 --epochs 3
    python -m benchmarks.compression.budget --models resnet56 --macs 0.5 --bits 8 4 --runtime
    python -m benchmarks.compression.budget --models resnet20 --rules "least loss" "equal loss"

Several methods joined by `+` are chosen for each part; with `>` one call follows another, and each
takes the same share of what is left of the budget. Level 3 trains what level 2 left, distilled from
the float network on augmented training images; `vib`, `bayes` and `l0` are of level 3 only, and
spend half of their training with gates. `trained` is a mean over seeds of the training. `W8A8` and
such are quantized last, with 1,024 images. Parts are tried once for all budgets; `--work` keeps
what was tried for another run.
"""

import argparse
import statistics
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.harness import Table, progress
from benchmarks.training.task import TrainingTask
from benchmarks.zoo import MODELS
from tersor.compressed import Compressed
from tersor.compression import compress
from tersor.levels import Compression
from tersor.names import KINDS, Rule
from tersor.recipes import quantize
from tersor.train.options import Training
from tersor.training import train

METHODS = ("prune", "spatial", "cp", "spatial+prune", "cp+prune", "spatial>prune", "prune>spatial")
TITLES = ("network", "MACs asked", "MACs", "parameters", "methods", "rule", "level", "top-1")
Way = tuple[str, float, str, str, int]  # network, share of the MACs, methods, rule, level


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    later = ("trained", "±") if 3 in args.levels else ()
    table = Table(args, *TITLES, *later, *(f"W{bits}A8" for bits in args.bits), "CPU s")
    with tempfile.TemporaryDirectory() as folder:
        args.work = args.work or Path(folder)
        for name in args.models:
            task = TrainingTask.of(name, args.limit)
            for way in product([name], args.macs, args.methods, args.rules, args.levels):
                if way[2] not in KINDS or way[4] == 3:
                    _add(table, task, way, args)


def _add(table: Table, task: TrainingTask, way: Way, args: argparse.Namespace) -> None:
    name, share, methods, rule, level = way
    begun, before = time.process_time(), ""
    found, trained = [], []
    if methods not in KINDS:
        progress(*way)
        found.append(_compressed(task, way, args))
        before = f"{task.task.top1(found[0].network):.2f}"
    if level == 3:
        for seed in range(args.seeds):
            progress(*way, "seed", seed)
            trained.append(_trained(task, way, found[:1], args, seed))
        found, top1 = trained, [task.task.top1(one.network) for one in trained]
        progress(*top1)
        spread = statistics.stdev(top1) if len(top1) > 1 else 0.0
        later = [f"{statistics.mean(top1):.2f}", f"{spread:.2f}"]
    else:
        top1, later = [], ["", ""] if 3 in args.levels else []
    seconds = time.process_time() - begun
    cost, whole = found[0].cost, found[0].original_cost
    shares = cost.macs / whole.macs, cost.parameters / whole.parameters
    few = [_quantized(task, found[0], bits, args) for bits in args.bits]
    cells = (name, str(share), f"{shares[0]:.3f}", f"{shares[1]:.3f}", methods, rule, str(level))
    figures = {"before": before, "trained": top1, "integers": few, "macs": shares[0]}
    rounded = [f"{x:.2f}" for x in few]
    table.add(*cells, before, *later, *rounded, f"{seconds:.0f}", what=way, **figures)


def _compressed(task: TrainingTask, way: Way, args: argparse.Namespace) -> Compressed:
    """Without training."""
    name, share, methods, rule, level = way
    data = task.task.calibration(args.images, args.seed) if level > 1 else None
    stages = methods.split(">")
    found: Any = Compressed(task.task.network, task.task.network)
    done = f"{name} {rule} {'with' if level > 1 else 'without'} data"
    for number, stage in enumerate(stages):
        names: Any = tuple(stage.split("+"))
        done = f"{done} {stage}"
        found = compress(
            found,
            macs=share ** (1 / len(stages)),
            data=data,
            options=Compression(methods=names, rule=cast("Rule", rule)),
            folder=args.work / (done if number == 0 else f"{done} {share}"),
        )
    return found


def _trained(
    task: TrainingTask, way: Way, start: list[Compressed], args: argparse.Namespace, seed: int
) -> Compressed:
    batches = task.batches(args.batch)
    options = Training(epochs=args.epochs, steps=args.steps, rate=args.rate, seed=seed)
    if start:
        return train(start[0], batches, options=options)
    gates = Compression(methods=(way[2],))
    network = task.task.network
    return compress(network, macs=way[1], train=batches, training=options, options=gates)


def _quantized(task: TrainingTask, found: Compressed, bits: int, args: argparse.Namespace) -> float:
    data = task.task.calibration(1024, args.seed)
    quantized = quantize(found.network, data=data, weights=bits)
    return task.task.runtime_top1(quantized) if args.runtime else task.task.top1(quantized)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cifar = [name for name, model in MODELS.items() if model.size == 32]
    parser.add_argument("--models", nargs="+", choices=cifar, default=["resnet56"])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.75, 0.5, 0.35])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rules", nargs="+", default=["least loss"])
    parser.add_argument("--levels", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--images", type=int, default=512, help="unlabelled, for level 2")
    parser.add_argument("--epochs", type=int, default=1, help="of level 3")
    parser.add_argument("--steps", type=int, help="of level 3, instead")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=Training.rate)
    parser.add_argument("--bits", nargs="*", type=int, default=[], help="of weights, afterwards")
    parser.add_argument("--runtime", action="store_true", help="integers in onnxruntime")
    parser.add_argument("--seeds", type=int, default=1, help="of the training")
    parser.add_argument("--seed", type=int, default=0, help="of the images of level 2")
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--work", type=Path, help="keep what was tried here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
