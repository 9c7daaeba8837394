"""Top-1 under a budget of MACs: pruning, factorization and both, before and after training.

    python -m benchmarks.compression.budget --models resnet56 --macs 0.75 0.5 0.35
    python -m benchmarks.compression.budget --models resnet56 --macs 0.5 --epochs 15
    python -m benchmarks.compression.budget --models resnet56 --macs 0.5 --bits 8 4
    python -m benchmarks.compression.budget --models resnet20 --rules "least loss" "equal loss"

Several methods joined by `+` are chosen for each part; with `>` one call follows another, and each
takes the same share of what is left of the budget. `vib`, `bayes` and `l0` need `--epochs`, half of
which are with gates; say `--levels 3`. `trained` is distilled from the float network on augmented
training images; `W8A8` and such are quantized after that, with 1,024 images.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Table, progress
from benchmarks.training.task import TrainingTask
from benchmarks.zoo import MODELS
from tersor.compressed import Compressed
from tersor.compression import compress
from tersor.levels import KINDS, Compression
from tersor.recipes import quantize
from tersor.train.options import Training
from tersor.training import train

METHODS = ("prune", "spatial", "cp", "spatial+prune", "cp+prune", "spatial>prune", "prune>spatial")
TITLES = ("network", "MACs asked", "MACs", "parameters", "methods", "rule", "level", "top-1")


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    later = ("trained",) if args.epochs else ()
    table = Table(args, *TITLES, *later, *(f"W{bits}A8" for bits in args.bits), "CPU s")
    for name in args.models:
        task = TrainingTask.of(name, args.limit)
        for share in args.macs:
            for methods in args.methods:
                for rule in args.rules:
                    for level in args.levels:
                        progress(name, share, methods, rule, level)
                        _add(table, task, (name, share, methods, rule, level), args)


def _add(table: Table, task: TrainingTask, what: tuple[Any, ...], args: argparse.Namespace) -> None:
    name, share, methods, rule, level = what
    begun = time.process_time()
    found = _compressed(task, share, methods, rule, level, args)
    seconds = time.process_time() - begun
    after, before = found.cost, found.original_cost
    top1 = [task.task.top1(found.network)]
    if args.epochs:
        if methods not in KINDS:
            found = train(found, task.batches(args.batch), options=_training(args))
        top1.append(task.task.top1(found.network))
    for bits in args.bits:
        data = task.task.calibration(1024, args.seed)
        quantized = quantize(found.network, data=data, weights=bits)
        top1.append(task.task.top1(quantized))
    shares = after.macs / before.macs, after.parameters / before.parameters
    cells = (name, str(share), f"{shares[0]:.3f}", f"{shares[1]:.3f}", methods, rule, str(level))
    table.add(*cells, *(f"{x:.2f}" for x in top1), f"{seconds:.0f}", what=what, top1=top1)


def _compressed(
    task: TrainingTask, share: float, methods: str, rule: Any, level: int, args: argparse.Namespace
) -> Compressed:
    network = task.task.network
    data = task.task.calibration(args.images, args.seed) if level > 1 else None
    if methods in KINDS:
        options = Compression(methods=(methods,))
        batches = task.batches(args.batch)
        return compress(
            network, macs=share, train=batches, training=_training(args), options=options
        )
    stages = methods.split(">")
    found: Any = Compressed(network, network)
    for stage in stages:
        names: Any = tuple(stage.split("+"))
        options = Compression(methods=names, rule=rule)
        found = compress(found, macs=share ** (1 / len(stages)), data=data, options=options)
    return found


def _training(args: argparse.Namespace) -> Training:
    return Training(epochs=args.epochs, rate=args.rate, seed=args.seed)


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
    parser.add_argument("--epochs", type=int, default=0, help="of training; 0: none")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=Training.rate)
    parser.add_argument("--bits", nargs="*", type=int, default=[], help="of weights, afterwards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
