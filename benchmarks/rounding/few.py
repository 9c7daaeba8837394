"""How many images the fast solver needs, and whether they must be of the network's own domain.

ResNet-20 on CIFAR-10 is rounded with 32 to 1,024 of its training images, and with random crops of
photographs (COCO train2017) of the same size.
"""

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import Table, progress
from benchmarks.rounding.task import SCHEMES, Task
from tersor.quant.fast_rounding import Rounding
from tersor.quant.levels import WithData


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 3])
    parser.add_argument("--images", nargs="+", type=int, default=[32, 64, 256, 1024])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(args, "weights", "from", "images", "float", "top-1", "±")
    task = Task.of(args.model, args.limit)
    floating = task.top1(task.network)
    for bits in args.bits:
        for domain, draw in (("CIFAR-10", task.calibration), ("COCO", task.photographs)):
            for count in args.images:
                found = [_top1(task, bits, draw(count, seed), seed) for seed in range(args.seeds)]
                mean, spread = statistics.mean(found), statistics.pstdev(found)
                cells = (f"{x:.2f}" for x in (floating, mean, spread))
                what = (f"{bits} per tensor", domain, f"{count:,}")
                table.add(*what, *cells, what=what, top1=found)


def _top1(task: Task, bits: int, data: Tensor, seed: int) -> float:
    progress(bits, len(data), seed)
    options = WithData(rounding=Rounding(seed=seed), samples=None)
    ends = 8 if bits < 4 else None
    outcome = task.round(task.bits(bits, ends), SCHEMES["tensor"], data, options)
    return task.top1(outcome.quantized)


if __name__ == "__main__":
    main()
