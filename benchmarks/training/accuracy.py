"""Top-1 after training with few bits: by configuration, start of the quantizers, loss and seed.

    python -m benchmarks.training.accuracy --models resnet20 --bits 4 3 2
    python -m benchmarks.training.accuracy --models resnet20 --bits 4 --losses labels distil
    python -m benchmarks.training.accuracy --models silunet --bits 4 3 2 --configurations 1 3 4
    python -m benchmarks.training.accuracy --models resnet20 --bits 2 --seeds 5 --epochs 1 \
        --init mse minmax
    python -m benchmarks.training.accuracy --models resnet20 --bits 4 --starts nearest fast
    python -m benchmarks.training.accuracy --models shufflenetv2_x0_5 --bits 4 --freezing off on

Weights and what layers read have few bits; the first and the last layer have 8, and so has what
anything else reads: additions, pooling, SiLU (`--others`). A seed draws the calibration images,
orders the batches and draws the augmentation. `distil` trains without labels. `before` is the
accuracy before training.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.harness import Table, progress
from benchmarks.training.task import STARTS, TrainingTask
from benchmarks.zoo import MODELS
from tersor.api.train import train
from tersor.quant.lsq import LSQ
from tersor.results.quantized import Quantized
from tersor.training.damping import Damping, Freezing
from tersor.training.options import Training

TITLES = (
    "network",
    "bits",
    "configuration",
    "init",
    "start",
    "loss",
    "freezing",
    "float",
    "before",
    "top-1",
    "±",
    "best",
    "CPU s",
)
Begin = Callable[[int, str, int], tuple[Quantized, float]]
_CONFIGURATIONS: dict[str, Any] = {"auto": "auto", "1": 1, "2": 2, "3": 3, "4": 4}


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    table = Table(args, *TITLES)
    ways = (args.bits, args.configurations, args.init, args.starts, args.losses, args.freezing)
    for name in args.models:
        task = TrainingTask.of(name, args.limit, args.images)
        floating = task.task.top1(task.task.network)
        begin = cache(partial(_begin, task, args.others))
        for way in product(*ways):
            runs = [_run(task, begin, way, seed, args) for seed in range(args.first, args.seeds)]
            _add(table, (name, *map(str, way)), floating, runs)


def _begin(
    task: TrainingTask, others: int, bits: int, start: str, seed: int
) -> tuple[Quantized, float]:
    """The network before training, and its accuracy."""
    quantized = task.quantize(bits, start, seed, others)
    return quantized, task.task.top1(quantized)


def _run(
    task: TrainingTask, begin: Begin, way: tuple[Any, ...], seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """One training."""
    bits, configuration, init, start, loss, freezing = way
    progress(task.task.model.name, *way, "seed", seed)
    quantized, before = begin(bits, start, seed)
    options = _options(args, configuration, init, freezing, seed)
    begun = time.process_time()
    trained = train(
        quantized,
        task.batches(args.batch),
        F.cross_entropy if loss == "labels" else None,
        options=options,
        folder=args.work and args.work / "-".join(map(str, (task.task.model.name, *way, seed))),
        on_batch=_tell(args.epochs),
    )
    seconds = time.process_time() - begun
    run = {"seed": seed, "before": before, "top1": task.task.top1(trained), "seconds": seconds}
    if args.runtime and seed == args.first:
        run["runtime"] = task.task.runtime_top1(trained)
    progress(run)
    return run


def _options(
    args: argparse.Namespace, configuration: str, init: str, freezing: str, seed: int
) -> Training:
    quantizers = LSQ(
        configuration=_CONFIGURATIONS[configuration],
        weights=args.weight_init,
        activations=init,
        whole=args.offset == "whole",
        start="keep",  # as `--starts` says
    )
    given = {"rate": args.rate, "quantizer_rate": args.quantizer_rate, "ema": args.ema}
    given |= {"bias_rate": args.bias_rate, "temperature": args.temperature}
    given |= {"batchnorm": args.batchnorm}
    return Training(
        epochs=args.epochs,
        quantizers=quantizers,
        seed=seed,
        freezing=Freezing() if freezing == "on" else None,
        damping=Damping() if freezing == "damping" else None,
        **{name: value for name, value in given.items() if value is not None},
    )


def _tell(epochs: int) -> Any:
    """Says how far it is, ten times an epoch."""

    def on_batch(done: int, total: int, loss: float) -> None:
        if done % max(1, total // (10 * epochs)) == 0:
            progress(f"{done}/{total}", f"loss {loss:.4f}")

    return on_batch


def _add(table: Table, what: tuple[str, ...], floating: float, runs: list[dict[str, Any]]) -> None:
    top1 = [run["top1"] for run in runs]
    before, seconds = (statistics.mean(run[key] for run in runs) for key in ("before", "seconds"))
    spread = statistics.stdev(top1) if len(top1) > 1 else 0.0
    cells = [f"{x:.2f}" for x in (floating, before, statistics.mean(top1), spread, max(top1))]
    table.add(*what, *cells, f"{seconds:.0f}", what=what, floating=floating, runs=runs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet20"])
    parser.add_argument("--bits", nargs="+", type=int, default=[4])
    parser.add_argument(
        "--configurations", nargs="+", choices=_CONFIGURATIONS, default=["auto"], metavar="N"
    )
    inits = ("keep", "mse", "minmax", "mean")
    parser.add_argument("--init", nargs="+", choices=inits, default=["mse"], help="activations")
    parser.add_argument(
        "--weight-init", choices=("keep", "sigma", "minmax", "mean"), default="keep"
    )
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=["nearest"])
    parser.add_argument("--losses", nargs="+", choices=("distil", "labels"), default=["distil"])
    parser.add_argument("--freezing", nargs="+", choices=("off", "on", "damping"), default=["off"])
    parser.add_argument("--offset", choices=("whole", "free"), default="free")
    parser.add_argument("--batchnorm", choices=("kept", "folded"))
    parser.add_argument("--others", type=int, default=8, help="bits of what no layer reads; 0: few")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--quantizer-rate", type=float)
    parser.add_argument("--bias-rate", type=float)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--ema", type=float)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--images", type=int, help="training images")
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--runtime", action="store_true", help="first seed in onnxruntime as well")
    parser.add_argument("--work", type=Path, help="keep checkpoints and logs here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
