"""AP50 of a detector with weights of few bits: FastestDet, ONNX in and out, in onnxruntime.

128 images of COCO train2017 calibrate, 128 of val2017 judge. A seed draws the positions in the
images that a solver sees.
"""

import argparse
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

import tersor
from benchmarks.fastest_detector import add
from benchmarks.harness.table import Table, progress
from benchmarks.rounding.accuracy import SOLVERS
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import coco128
from tersor.quant.range_methods import MSE, MinMax

RANGES = {"minmax": MinMax(), "mse": MSE()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--weights", nargs="+", type=int, default=[8, 4])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["nearest", "fast"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ranges", choices=RANGES, default="minmax", help="of activations")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    judges = coco128()[: args.limit]
    data = [torch.from_numpy(photo.pixels) for photo in coco128("train2017")[: args.limit]]
    original = asset("weights/FastestDet.onnx")
    table = Table(args, "file", "images", "AP50", "MB")
    add(table, "float, as it came", original, judges)
    model, example = tersor.load(original)
    with tempfile.TemporaryDirectory() as folder:
        for bits, solver, seed in product(args.weights, args.solvers, range(args.seeds)):
            if seed and SOLVERS[solver] is None:
                continue
            name = f"W{bits}A8, {solver}, seed {seed}"
            progress(name)
            options = tersor.WithData(
                rounding=_seeded(SOLVERS[solver], seed), activation_range=RANGES[args.ranges]
            )
            quantized = tersor.quantize(model, example, data=data, weights=bits, options=options)
            path = quantized.export(Path(folder) / "rounded.onnx").path
            add(table, name, path, judges, quantized.scheme.session)


def _seeded(solver: Any, seed: int) -> Any:
    return None if solver is None else replace(solver, seed=seed)


if __name__ == "__main__":
    main()
