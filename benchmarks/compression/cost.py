"""What compression takes, and what it buys in time: sweeps, files in onnxruntime, latency budgets.

    python -m benchmarks.compression.cost --models resnet56 --macs 0.5 0.35
    python -m benchmarks.compression.cost --models resnet56 --latency 0.7 0.5 --macs --work tried
    python -m benchmarks.compression.cost --models resnet56 --jobs 1 2 --macs 0.5
    python -m benchmarks.compression.cost --models resnet56 --macs --latency 0.6 --epochs 1

`sweep s` are the wall seconds in which every part is tried alone, with so many processes. `time` is
the processor time that one thread takes for one image, relative to the file before, measured anew
in turns when all is done; `asked` is the budget, and `CPU s` are those of the whole call in this
process. `--work` keeps what was tried, so that it is not tried, nor timed, for each budget. With
`--epochs` what is left is trained, on unlabelled batches; that takes no part in the seconds.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from joblib import parallel_config

from benchmarks.harness import Table, progress
from benchmarks.rounding.task import Task
from benchmarks.speed import Stopwatch
from benchmarks.training.task import TrainingTask, need_training_images
from benchmarks.zoo import MODELS
from tersor.api.compress import STEPS, compress
from tersor.api.train import train
from tersor.compression.options import Compression
from tersor.data.invented.synthetic import example_tensors
from tersor.errors import InvalidInputError
from tersor.export.sessions.latency import shortest_times
from tersor.results.compressed import Compressed
from tersor.training.options import Training

TITLES = ("network", "methods", "budget", "asked", "processes", "sweep s", "all s", "CPU s")
_MEASURED = 3  # times, in the end
LEFT = ("MACs", "time", "top-1", "trained")


def main() -> None:
    """Print the table."""
    parser = _parser()
    args = parser.parse_args()
    if args.epochs:
        need_training_images(parser, args.models)
    torch.set_num_threads(args.threads)
    table = Table(args, *TITLES, *LEFT)
    budgets = [("macs", share) for share in args.macs] + [("latency", x) for x in args.latency]
    for name in args.models:
        task = Task.of(name, args.limit)
        for methods in args.methods:
            for budget in budgets:
                for jobs in args.jobs:
                    progress(name, methods, *budget, jobs)
                    _add(table, task, methods, budget, jobs, args)


def _add(
    table: Table,
    task: Task,
    methods: str,
    budget: tuple[str, float],
    jobs: int,
    args: argparse.Namespace,
) -> None:
    watch = Stopwatch()
    what = (task.model.name, methods, budget[0], str(budget[1]), str(jobs))
    try:
        found = _compressed(task, methods, budget, jobs, args, watch)
    except InvalidInputError as error:
        progress(error)
        table.add(*what, *["–"] * 6, "refused", what=what, refused=str(error))
        return
    watch()
    sweep, whole = watch.times[STEPS[1]].wall, sum(time.wall for time in watch.times.values())
    seconds = sum(time.cpu for time in watch.times.values())
    share, ratio = found.cost.macs / found.original_cost.macs, _time(found)
    top1 = task.top1(found.network)
    trained = _trained(found, task, args) if args.epochs else None
    figures = {"sweep": sweep, "whole": whole, "macs": share, "time": ratio, "cpu": seconds}
    figures |= {"top1": top1, "trained": trained}
    cells = [f"{sweep:.0f}", f"{whole:.0f}", f"{seconds:.0f}", f"{share:.3f}"]
    cells += [f"{ratio:.3f}", f"{top1:.2f}"]
    cells.append("–" if trained is None else f"{trained:.2f}")
    table.add(*what, *cells, what=what, **figures)


def _trained(found: Compressed, task: Task, args: argparse.Namespace) -> float:
    """Top-1 after training."""
    batches = TrainingTask.of(task.model.name).batches(args.batch)
    return task.top1(train(found, batches, options=Training(epochs=args.epochs)).network)


def _time(found: Compressed) -> float:
    """Of the processor, for one image in one thread, as a share of that of the file before."""
    example, whole = example_tensors(found.original), Compressed(found.original, found.original)
    with tempfile.TemporaryDirectory() as folder:
        before = whole.export(Path(folder) / "before.onnx").path
        after = found.export(Path(folder) / "after.onnx").path
        times = [shortest_times(before, after, example) for _ in range(_MEASURED)]
    return median(of_found / of_whole for of_whole, of_found in times)


def _compressed(
    task: Task,
    methods: str,
    budget: tuple[str, float],
    jobs: int,
    args: argparse.Namespace,
    watch: Stopwatch,
) -> Compressed:
    names: Any = tuple(methods.split("+"))
    given: Any = dict([budget])
    folder = args.work and args.work / f"{task.model.name} {args.seed} {methods}"
    with parallel_config("loky", inner_max_num_threads=args.threads):
        return compress(
            task.network,
            data=task.calibration(args.images, args.seed),
            options=Compression(methods=names),
            jobs=jobs,
            folder=folder,
            on_step=watch,
            **given,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet56"])
    parser.add_argument("--methods", nargs="+", default=["spatial", "prune", "spatial+prune"])
    parser.add_argument("--macs", nargs="*", type=float, default=[0.5, 0.35])
    parser.add_argument("--latency", nargs="*", type=float, default=[])
    parser.add_argument("--jobs", nargs="+", type=int, default=[1], help="processes of the sweep")
    parser.add_argument("--images", type=int, default=512, help="unlabelled")
    parser.add_argument("--seed", type=int, default=0, help="of the images")
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--epochs", type=int, default=0, help="of training afterwards")
    parser.add_argument("--batch", type=int, default=128, help="of the training")
    parser.add_argument("--work", type=Path, help="keep what was tried here")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
