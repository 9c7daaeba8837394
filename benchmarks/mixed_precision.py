"""Bits that differ from layer to layer beside the same bits everywhere, at equal size.

Each layer is tried alone with 2, 3, 4 and 8 bits, and the bits of least total damage to the outputs
whose average is that of the uniform width are chosen. Both are then rounded by the fast solver, on
the same images of the training set; activations have 8 bits. Accuracy is that of the simulation on
the test set, mean ± standard deviation over the seeds that draw the images; noise is that of the
outputs, ‖y − ŷ‖² / ‖y‖². The scheme `dfq-paper` has one scale per layer.
"""

import time
from collections.abc import Callable
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Subject, Table, arguments, progress, subjects
from benchmarks.zoo import accuracy
from benchmarks.zoo.data import cifar10_train
from tersor.api.quantize import quantize
from tersor.api.search_bits import Bits, search_bits

COUNT = 1024  # images to calibrate with
CHOICES = (2, 3, 4, 8)


def main() -> None:
    """Print the table: one row per network, scheme and way to choose the bits."""
    parser = arguments(__doc__)
    parser.add_argument("--schemes", nargs="+", default=["onnxruntime-cpu", "dfq-paper"])
    parser.add_argument("--average", type=int, default=4, metavar="N", help="bits; default: 4")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--layers", action="store_true", help="also print the bits of each layer")
    parser.set_defaults(models=["shufflenetv2_x0_5"], threads=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = Table(args, "network", "scheme", "weights", "bits", "top-1", "noise", "CPU s")
    tables: list[str] = []
    for subject in subjects(args):
        wanted = floating(subject)
        for scheme in args.schemes:
            uniform, mixed = [], []
            for seed in range(args.seeds):
                progress(subject.name, scheme, "seed", seed)
                images = calibration(subject, seed)
                uniform.append(judge(subject, wanted, scheme, args.average, images))
                bits, seconds = timed(search, subject, scheme, args.average, images)
                mixed.append(judge(subject, wanted, scheme, bits, images))
                mixed[-1]["seconds"] += seconds
                tables.append(f"{subject.name}, {scheme}, seed {seed}\n\n{bits.table()}\n")
            add(table, subject.name, scheme, "uniform", uniform)
            add(table, subject.name, scheme, "mixed", mixed)
    if args.layers:
        print("", *tables, sep="\n")


def floating(subject: Subject) -> Tensor:
    """What the float network returns."""
    with torch.inference_mode():
        return torch.cat([subject.network(x) for x in subject.images.split(subject.batch_size)])


def calibration(subject: Subject, seed: int) -> Tensor:
    """Images of the training set, drawn by a seed."""
    pixels = cifar10_train()[0]
    drawn = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))[:COUNT]
    return subject.model.normalize(pixels[drawn.numpy()])


def search(subject: Subject, scheme: str, average: int, images: Tensor) -> Bits:
    """The bits of each layer."""
    budget = float(average)
    return search_bits(subject.network, data=images, average=budget, choices=CHOICES, scheme=scheme)


def judge(
    subject: Subject, wanted: Tensor, scheme: str, weights: int | Bits, images: Tensor
) -> dict[str, Any]:
    """Quantize, and measure the simulation."""
    options = {"data": images, "scheme": scheme, "weights": weights}
    quantized, seconds = timed(quantize, subject.network, **options)
    outputs: list[Tensor] = []

    def predict(batch: Tensor) -> Tensor:
        outputs.append(quantized(batch))
        return outputs[-1]

    top1 = accuracy(predict, subject.images, subject.labels, subject.batch_size)
    noise = float((torch.cat(outputs) - wanted).square().sum() / wanted.square().sum())
    average = weights.average if isinstance(weights, Bits) else float(weights)
    figures = {"top1": top1, "noise": noise, "average": average, "seconds": seconds}
    progress(figures)
    return {**figures, "weights": weights}


def timed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float]:
    """A result, and the CPU seconds that it took."""
    start = time.process_time()
    return function(*args, **kwargs), time.process_time() - start


def add(table: Table, name: str, scheme: str, title: str, found: list[dict[str, Any]]) -> None:
    """One row."""
    top1 = [row["top1"] for row in found]
    spread = f" ± {stdev(top1):.2f}" if len(top1) > 1 else ""
    noise, seconds = (mean(row[key] for row in found) for key in ("noise", "seconds"))
    bits = f"{mean(row['average'] for row in found):.3f}"
    cells = (f"{mean(top1):.2f}{spread}", f"{noise:.4f}", f"{seconds:.0f}")
    table.add(
        name, scheme, title, bits, *cells, network=name, scheme=scheme, kind=title, runs=found
    )


if __name__ == "__main__":
    main()
