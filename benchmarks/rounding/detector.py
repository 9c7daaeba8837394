"""AP50 of a detector with weights of few bits: FastestDet, ONNX in and out, in onnxruntime.

128 images of COCO train2017 calibrate, 128 of val2017 judge. A seed draws the positions in the
images that a solver sees. With `--halves`, all 256 images judge: a seed draws two halves, and each
is judged by the file that the other has calibrated. With `--average`, each layer has its own bits,
which `search_bits` chooses for each seed; `--weights` does not count then. Weights of 8 bits are
those of the default command. In brackets are 95 % intervals of what is lost, over drawings of the
images.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.rounding.accuracy import SOLVERS
from benchmarks.zoo.data import asset
from benchmarks.zoo.detection import (
    Matched,
    Photograph,
    coco128,
    detections,
    matched,
    precision_of,
)
from tersor.export.sessions.runtime import Config, Runtime
from tersor.quant.range_methods import MSE, MinMax

RANGES = {"auto": "auto", "minmax": MinMax(), "mse": MSE()}
_DRAWINGS = 1000
_DEFAULT = 8  # bits of the scheme


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(1)
    original = asset("weights/FastestDet.onnx")
    model, example = tersor.load(original)
    table = Table(args, "file", "images", "AP50", "lost", "MB")
    kinds = product(args.weights, args.solvers, range(args.seeds))
    for bits, solver, seed in kinds:
        if seed and SOLVERS[solver] is None and not args.halves:
            continue
        name = f"W{args.average or bits}A8, {solver}, seed {seed}"
        rounding = _seeded(SOLVERS[solver], seed)
        found, wanted, sizes = [], [], []
        for samples, judges in _parts(args, seed):
            progress(name, len(samples), "images")
            quantized = _quantized(args, model, example, bits, rounding, samples)
            with tempfile.TemporaryDirectory() as folder:
                path = quantized.export(Path(folder) / "rounded.onnx").path
                found += _matched(path, judges, quantized.scheme.session)
                sizes.append(path.stat().st_size)
            wanted += _matched(original, judges)
        _add(table, name, found, wanted, max(sizes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--halves", action="store_true", help="all images judge, half by half")
    parser.add_argument("--weights", nargs="+", type=int, default=[8, 4])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=["nearest", "fast"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ranges", choices=RANGES, default="auto", help="of activations")
    parser.add_argument("--average", type=float, metavar="BITS", help="by bits of each layer")
    parser.add_argument("--every-layer", action="store_true", help="none stays in float by default")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    return parser


def _parts(
    args: argparse.Namespace, seed: int
) -> Iterator[tuple[list[Photograph], list[Photograph]]]:
    """What calibrates, and what judges."""
    samples, judges = (coco128(part)[: args.limit] for part in ("train2017", "val2017"))
    if not args.halves:
        yield samples, judges
        return
    everything = samples + judges
    order = np.random.default_rng(seed).permutation(len(everything))
    first, second = ([everything[n] for n in half] for half in np.array_split(order, 2))
    yield first, second
    yield second, first


def _quantized(
    args: argparse.Namespace,
    model: Any,
    example: Any,
    bits: Any,
    rounding: Any,
    samples: Sequence[Photograph],
) -> tersor.Quantized:
    data = [torch.from_numpy(photo.pixels) for photo in samples]
    options = tersor.WithData(rounding=rounding, activation_range=RANGES[args.ranges])
    given: dict[str, Any] = {"data": data, "options": options}
    if args.average is not None:
        bits = tersor.search_bits(model, example, average=args.average, **given)
    if args.every_layer:
        given["tolerance"] = None
    elif bits == _DEFAULT:
        bits = None  # as by the default command, which leaves layers in float where that helps
    return tersor.quantize(model, example, weights=bits, **given)


def _matched(path: Path, photographs: Sequence[Photograph], config: Config = ()) -> list[Matched]:
    runtime = Runtime(path, config=config)
    outputs = (runtime(photo.pixels)[runtime.outputs[0]][0] for photo in photographs)
    return [
        matched(detections(output, photo.size), photo)
        for output, photo in zip(outputs, photographs, strict=True)
    ]


def _add(table: Table, name: str, found: list[Matched], wanted: list[Matched], size: int) -> None:
    """Print the row of one draw."""
    score, best = precision_of(found), precision_of(wanted)
    generator = np.random.default_rng(0)
    lost = []
    for _ in range(_DRAWINGS):
        drawn = generator.choice(len(found), len(found))
        pair = (precision_of([images[n] for n in drawn]) for images in (wanted, found))
        lost.append(float(np.subtract(*pair)))
    low, high = np.quantile(lost, [0.025, 0.975])
    table.add(
        name,
        str(len(found)),
        f"{score:.2f} of {best:.2f}",
        f"{best - score:.2f} ({low:.2f} … {high:.2f})",
        f"{size / 1e6:.2f}",
        file=name,
        images=len(found),
        ap50=score,
        float_ap50=best,
        interval=(low, high),
        bytes=size,
    )


def _seeded(solver: Any, seed: int) -> Any:
    return None if solver is None else replace(solver, seed=seed)


if __name__ == "__main__":
    main()
