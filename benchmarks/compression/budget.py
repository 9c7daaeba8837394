"""Top-1 under a budget of MACs: pruning, factorization and both, without data, with, and trained.

    python -m benchmarks.compression.budget --models resnet56 --macs 0.75 0.5 0.35
    python -m benchmarks.compression.budget --models resnet56 --macs 0.5 --levels 3 --epochs 3
    python -m benchmarks.compression.budget --models resnet56 --macs 0.5 --bits 8 4 --runtime
    python -m benchmarks.compression.budget --models efficientnet_lite0 --macs 0.75 --halves
    python -m benchmarks.compression.budget --models resnet20 --rules "least loss" "equal loss"

Several methods joined by `+` are chosen for each part; with `>` one call follows another, and each
takes the same share of what is left of the budget. Level 3 trains what level 2 left, distilled from
the float network on augmented training images; `vib`, `bayes` and `l0` are of level 3 only, and
spend `--share` of their training with gates: `spatial+vib` factorizes, then gates choose ranks and
channels; `vib>spatial` factorizes what gates left, each with half of the training. `trained` is a
mean over seeds of the training. `W8A8` and such are quantized last, with 1,024 images; `kB` are the
files: before, of floats, and of these, four-bit weights two per byte. Parts are tried once for all
budgets; `--work` keeps what was tried, and trainings, for another run.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.harness import Table, progress
from benchmarks.training.task import TrainingTask, need_training_images
from benchmarks.zoo import MODELS
from tersor.api.compress import compress
from tersor.api.quantize import quantize
from tersor.api.train import train
from tersor.compression.gate_training import Gating
from tersor.compression.options import Compression
from tersor.names import KINDS, SCORES, BudgetRule
from tersor.names import METHODS as DECOMPOSITIONS
from tersor.results.compressed import Compressed
from tersor.results.quantized import Quantized
from tersor.training.options import Training

METHODS = (*DECOMPOSITIONS, "prune", "spatial+prune", "spatial>prune", "prune>spatial")
TITLES = ("network", "MACs asked", "MACs", "parameters", "methods", "rule", "level", "top-1")


@dataclass(frozen=True)
class Way:
    """What a row is about.

    Attributes:
        network: Its name in the zoo.
        share: Of the MACs that may be left.
        methods: Joined by `+` or `>`.
        rule: How parts share the budget.
        level: 1 without data, 2 with unlabelled images, 3 trained.
    """

    network: str
    share: float
    methods: str
    rule: str
    level: int

    @property
    def is_gated(self) -> bool:
        """Are channels chosen by training, so that there is nothing before it?"""
        return not set(KINDS).isdisjoint(re.split("[+>]", self.methods))


@dataclass(frozen=True)
class Found:
    """What came of it.

    Attributes:
        first: The network, or that of the first seed.
        before: Top-1 without training; None for gates.
        trained: Top-1 after training with each seed.
    """

    first: Compressed
    before: float | None
    trained: tuple[float, ...] = ()


class Runs:
    """All rows of a network. What level 2 finds is kept for level 3."""

    def __init__(self, task: TrainingTask, args: argparse.Namespace) -> None:
        self.task, self.args = task, args
        self.known: dict[Way, Found] = {}

    def found(self, way: Way) -> Found:
        """Compress, train, and measure."""
        if way.level == 3:
            return self._trained(way, None if way.is_gated else self.found(replace(way, level=2)))
        if way not in self.known:
            progress(way)
            network = _compressed(self.task, way, self.args)
            self.known[way] = Found(network, self.task.task.top1(network.network))
        return self.known[way]

    def _trained(self, way: Way, start: Found | None) -> Found:
        networks, top1 = list[Compressed](), list[float]()
        first = self.args.first_seed
        for seed in range(first, first + self.args.seeds):
            progress(way, "seed", seed)
            networks.append(_trained(self.task, way, start, self.args, seed))
            top1.append(self.task.task.top1(networks[-1].network))
            progress(top1[-1])
        return Found(networks[0], start.before if start else None, tuple(top1))


def main() -> None:
    """Print the table."""
    parser = _parser()
    args = parser.parse_args()
    if 3 in args.levels and not args.halves:
        need_training_images(parser, args.models)
    torch.set_num_threads(args.threads)
    titles = [*TITLES, *(("trained", "±") if 3 in args.levels else ())]
    titles += [f"W{bits}A8" for bits in args.bits] + (["kB"] if args.bits else [])
    table = Table(args, *titles, "CPU s")
    with tempfile.TemporaryDirectory() as folder:
        args.work = args.work or Path(folder)
        for name in args.models:
            halved, limit = args.halves, args.limit
            task = TrainingTask.halved(name) if halved else TrainingTask.of(name, limit)
            runs = Runs(task, args)
            for each in product([name], args.macs, args.methods, args.rules, args.levels):
                way = Way(*each)
                if way.level == 3 or not way.is_gated:
                    _add(table, runs, way)


def _add(table: Table, runs: Runs, way: Way) -> None:
    begun = time.process_time()
    found = runs.found(way)
    seconds = time.process_time() - begun
    cost, whole = found.first.cost, found.first.original_cost
    macs, parameters = cost.macs / whole.macs, cost.parameters / whole.parameters
    few = [_quantized(runs.task, found.first, bits, runs.args) for bits in runs.args.bits]
    before = Compressed(found.first.original, found.first.original)
    sizes = [_kilobytes(before), _kilobytes(found.first), *(size for _, size in few)] if few else []
    cells = [way.network, str(way.share), f"{macs:.3f}", f"{parameters:.3f}"]
    cells += [way.methods, way.rule, str(way.level)]
    cells.append("–" if found.before is None else f"{found.before:.2f}")
    if 3 in runs.args.levels:
        cells += _mean_and_spread(found.trained)
    cells += [f"{top1:.2f}" for top1, _ in few]
    if few:
        cells.append(" / ".join(f"{size:,.0f}" for size in sizes))
    figures = {"before": found.before, "trained": found.trained, "integers": few, "macs": macs}
    figures["kilobytes"] = sizes
    table.add(*cells, f"{seconds:.0f}", **asdict(way), **figures)


def _mean_and_spread(top1: Sequence[float]) -> list[str]:
    if not top1:
        return ["", ""]
    spread = f"{statistics.stdev(top1):.2f}" if len(top1) > 1 else "–"
    return [f"{statistics.mean(top1):.2f}", spread]


def _compressed(task: TrainingTask, way: Way, args: argparse.Namespace) -> Compressed:
    """Without training."""
    data = task.calibration(args.images, args.seed) if way.level > 1 else None
    stages = way.methods.split(">")
    found: Any = Compressed(task.task.network, task.task.network)
    done = f"{way.network} {way.rule} {'with' if way.level > 1 else 'without'} data"
    for number, stage in enumerate(stages):
        names: Any = tuple(stage.split("+"))
        done = f"{done} {stage} {args.scores or ''}".strip()
        found = compress(
            found,
            macs=way.share ** (1 / len(stages)),
            data=data,
            options=Compression(names, rule=cast("BudgetRule", way.rule), scores=args.scores),
            folder=args.work / (done if number == 0 else f"{done} {way.share}"),
        )
    return found


def _trained(
    task: TrainingTask, way: Way, start: Found | None, args: argparse.Namespace, seed: int
) -> Compressed:
    stages = way.methods.split(">") if start is None else [way.methods]
    batches, told = (
        task.batches(args.batch),
        f"{way} seed {seed} {args.mixup} {args.precision or ''}",
    )
    options = Training(
        epochs=args.epochs // len(stages),
        steps=args.steps and args.steps // len(stages),
        rate=args.rate,
        seed=seed,
        mixup=args.mixup,
        precision=args.precision,
        checkpoint_every=100,
    )
    folder = args.work / re.sub(r"[^\w.>+]+", " ", told)
    if start is not None:
        return train(start.first, batches, options=options, folder=folder)
    found: Any = Compressed(task.task.network, task.task.network)
    for number, stage in enumerate(stages):
        names: Any = tuple(stage.split("+"))
        found = compress(
            found,
            macs=way.share ** (1 / len(stages)),
            data=task.calibration(args.images, args.seed),
            train=batches,
            training=options,
            options=Compression(names, gating=Gating(share=args.share)),
            folder=folder / str(number),
        )
    return found


def _quantized(
    task: TrainingTask, found: Compressed, bits: int, args: argparse.Namespace
) -> tuple[float, float]:
    """Top-1, and the size of the file."""
    data = task.calibration(1024, args.seed)
    quantized = quantize(found.network, data=data, weights=bits)
    top1 = task.task.runtime_top1(quantized) if args.runtime else task.task.top1(quantized)
    return top1, _kilobytes(quantized, **({"storage": "int4"} if bits <= 4 else {}))


def _kilobytes(found: Compressed | Quantized, **storage: Any) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return found.export(Path(folder) / "small.onnx", **storage).path.stat().st_size / 1e3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet56"])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.75, 0.5, 0.35])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rules", nargs="+", default=["least loss"])
    parser.add_argument("--scores", choices=SCORES, help="of channels")
    parser.add_argument("--levels", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--images", type=int, default=512, help="unlabelled, for level 2")
    parser.add_argument("--epochs", type=int, default=1, help="of level 3")
    parser.add_argument("--steps", type=int, help="of level 3, instead")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, help="highest, of level 3")
    parser.add_argument("--share", type=float, default=0.5, help="of level 3, with gates")
    parser.add_argument("--mixup", type=float, default=0.0, help="α of it, of level 3")
    parser.add_argument("--precision", choices=["bf16"], help="of level 3")
    parser.add_argument("--bits", nargs="*", type=int, default=[], help="of weights, afterwards")
    parser.add_argument("--runtime", action="store_true", help="integers in onnxruntime")
    parser.add_argument("--seeds", type=int, default=1, help="of the training")
    parser.add_argument("--first-seed", type=int, default=0, help="of the training")
    parser.add_argument("--seed", type=int, default=0, help="of the images of level 2")
    tested = parser.add_mutually_exclusive_group()
    tested.add_argument("--limit", type=int, help="test images")
    tested.add_argument(
        "--halves", action="store_true", help="samples and training: every second test image"
    )
    parser.add_argument("--work", type=Path, help="keep what was tried here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
