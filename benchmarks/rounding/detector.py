"""AP50 of a detector with weights of few bits: FastestDet, ONNX in and out, in onnxruntime.

128 images of COCO train2017 calibrate, 128 of val2017 judge. A seed draws the positions in the
images that a solver sees. With `--average`, each layer has its own bits, which `search_bits`
chooses for each seed; `--weights` does not count then.
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

RANGES = {"auto": "auto", "minmax": MinMax(), "mse": MSE()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--weights", nargs="+", type=int, default=[8, 4])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["nearest", "fast"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ranges", choices=RANGES, default="auto", help="of activations")
    parser.add_argument("--average", type=float, metavar="BITS", help="by bits of each layer")
    parser.add_argument("--every-layer", action="store_true", help="none stays in float by default")
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
            name = f"W{args.average or bits}A8, {solver}, seed {seed}"
            progress(name)
            options = tersor.WithData(
                rounding=_seeded(SOLVERS[solver], seed), activation_range=RANGES[args.ranges]
            )
            given = {"data": data, "options": options}
            if args.average is not None:
                bits = tersor.search_bits(model, example, average=args.average, **given)
            tolerance = None if args.every_layer else "auto"
            quantized = tersor.quantize(model, example, weights=bits, tolerance=tolerance, **given)
            path = quantized.export(Path(folder) / "rounded.onnx").path
            add(table, name, path, judges, quantized.scheme.session)


def _seeded(solver: Any, seed: int) -> Any:
    return None if solver is None else replace(solver, seed=seed)


if __name__ == "__main__":
    main()
