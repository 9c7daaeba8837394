"""AP50 of a detector with weights of few bits: FastestDet, ONNX in and out, in onnxruntime.

128 images of COCO train2017 calibrate, 128 of val2017 judge.
"""

import argparse
import tempfile
from pathlib import Path

import torch

import tersor
from benchmarks.fastest_detector import add
from benchmarks.harness.table import Table, progress
from benchmarks.rounding.accuracy import SOLVERS
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import coco128
from tersor.quant.ranges import MSE, MinMax

RANGES = {"minmax": MinMax(), "mse": MSE()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--weights", nargs="+", type=int, default=[8, 4])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["nearest", "fast"])
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
        for bits in args.weights:
            for solver in args.solvers:
                progress(bits, solver)
                ranges = RANGES[args.ranges]
                options = tersor.WithData(rounding=SOLVERS[solver], activation_range=ranges)
                quantized = tersor.quantize(
                    model, example, data=data, weights=bits, options=options
                )
                path = quantized.export(Path(folder) / "rounded.onnx").path
                add(table, f"W{bits}A8, {solver}", path, judges, quantized.scheme.session)


if __name__ == "__main__":
    main()
