"""How many images the fast solver needs, and whether they must be of the network's own domain.

ResNet-20 on CIFAR-10 is rounded with 32 to 1,024 of its training images, and with random crops of
photographs (COCO train2017) of the same size.
"""

import argparse
import io
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.harness import Table, progress
from benchmarks.rounding.task import SCHEMES, Task
from benchmarks.zoo.data import asset
from tersor.quant.rounding import Rounding
from tersor.recipes import WithData

_CROPS = 8  # of each photograph


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
        for domain, draw in (("CIFAR-10", task.calibration), ("COCO", _photographs(task))):
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


def _photographs(task: Task) -> Callable[[int, int], Tensor]:
    """Draws crops of photographs, as `Task.calibration` draws images."""
    crops = _crops(task.model.size)

    def draw(count: int, seed: int) -> Tensor:
        order = np.random.default_rng(seed).permutation(len(crops))
        return task.model.normalize(crops[order[:count]])

    return draw


def _crops(size: int) -> np.ndarray:
    """Random squares of photographs, scaled to the size of the network's images."""
    generator, found = np.random.default_rng(0), []
    with np.load(asset("data/coco128_train2017.npz"), allow_pickle=False) as pack:
        jpeg, offsets = pack["jpeg"].tobytes(), pack["offsets"]
    for start, stop in pairwise(offsets):
        image = Image.open(io.BytesIO(jpeg[start:stop])).convert("RGB")
        for _ in range(_CROPS):
            side = int(min(image.size) * generator.uniform(0.4, 1))
            left, top = (int(generator.integers(0, extent - side + 1)) for extent in image.size)
            crop = image.crop((left, top, left + side, top + side))
            found.append(np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(found)


if __name__ == "__main__":
    main()
