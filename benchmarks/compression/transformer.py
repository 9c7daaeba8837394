"""Spearman's correlation of all-MiniLM-L6-v2 with fewer multiplications, in onnxruntime.

    python -m benchmarks.compression.transformer --macs 0.9 0.75 0.5
    python -m benchmarks.compression.transformer --methods svd --macs 0.75 --bits 8 4
    python -m benchmarks.compression.transformer --macs --latency 0.8
    python -m benchmarks.compression.transformer --methods svd+prune --macs 0.5 --levels 2 3

`svd` makes two linear layers of one, `prune` takes neurons of the layers between. Level 1 sees the
weights only; at level 2 sentences of a set that is not measured serve as samples. Level 3 trains
what level 2 left, distilled from the float network on the sentences of three sets that are not
measured. `time` is that of 50 sentences at once, relative to the float file, in turns. A budget of
latency is one of the time of one sentence; `time of one` is that, measured anew. `W8A8` and such
are quantized last.
"""

import argparse
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.minilm import EXAMPLE, FLOAT, figures, latencies
from benchmarks.zoo.sentences import PUBLISHED, Batch, Sentences, calibration, minilm, tokenize
from tersor.export.onnx.writer import export_onnx
from tersor.export.sessions.latency import measure_latency
from tersor.export.sessions.runtime import Runtime
from tersor.results.compressed import Compressed

TITLES = (
    "methods",
    "level",
    "budget",
    "asked",
    "MACs",
    "bits",
    *PUBLISHED,
    "largest drop",
    "MB",
    "time",
    "time of one",
)


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(1)
    table = Table(args, *TITLES)
    data = calibration(args.sentences)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original = folder / "float.onnx"
        export_onnx(tersor.quantize(minilm(), tokenize(EXAMPLE)).original, original)
        runtime = Runtime(original)
        exact = figures(runtime, {})["spearman"]
        cells = (FLOAT, "–", "–", "–", "1.000", "–", *(f"{x:.4f}" for x in exact.values()))
        table.add(
            *cells, "0.0000", f"{original.stat().st_size / 1e6:.1f}", "1.00", "1.00", found=exact
        )
        budgets = [("macs", share) for share in args.macs]
        budgets += [("latency", share) for share in args.latency]
        for methods, budget, level in product(args.methods, budgets, args.levels):
            progress(methods, *budget, "level", level)
            work = folder / f"{methods} {min(level, 2)} {budget[0]}"
            found = _compressed(methods, budget, data if level > 1 else None, work)
            if level == 3:
                found = _trained(found, args, work / "trained")
            macs = found.cost.macs / found.original_cost.macs
            what = (methods, str(level), budget[0], str(budget[1]), f"{macs:.3f}")
            for bits, path in _files(found, folder, data, args.bits):
                _add(table, (*what, bits), path, runtime, exact)


def _compressed(
    methods: str, budget: tuple[str, float], data: list[Batch] | None, work: Path
) -> Compressed:
    """Parts are tried once for all budgets of a kind: `work` keeps what came of it."""
    names: Any = tuple(methods.split("+"))
    options = tersor.Compression(methods=names)
    given: Any = {"data": data, "options": options, "folder": work, budget[0]: budget[1]}
    return tersor.compress(minilm(), tokenize(EXAMPLE), **given)


def _trained(start: Compressed, args: argparse.Namespace, folder: Path) -> Compressed:
    options = tersor.Training(epochs=args.epochs, rate=args.rate, precision=args.precision)
    return tersor.train(start, Sentences(args.batch), options=options, folder=folder)


def _files(
    found: Compressed, folder: Path, data: list[Batch], weights: list[int]
) -> Iterator[tuple[str, Path]]:
    """The float file, and one of integers for each number of bits; named by its bits."""
    path = folder / "small.onnx"
    found.export(path)
    yield FLOAT, path
    for bits in weights:
        tersor.quantize(found.network, data=data, weights=bits).export(path)
        yield f"W{bits}A8", path


def _add(
    table: Table, what: tuple[str, ...], path: Path, original: Runtime, exact: dict[str, float]
) -> None:
    runtime = Runtime(path)
    reached = figures(runtime, exact)
    found, drop = reached["spearman"], reached["drop"]
    times = latencies({FLOAT: original, "small": runtime}, rounds=15)["small"]["ratio"]
    one = measure_latency(original.path, path, tokenize(EXAMPLE), rounds=100).ratio
    cells = (*what, *(f"{x:.4f}" for x in found.values()), f"{drop:.4f}")
    cells += (f"{path.stat().st_size / 1e6:.1f}", f"{times:.2f}", f"{one:.2f}")
    table.add(*cells, what=what, found=found, time=times, one=one)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--macs", nargs="*", type=float, default=[0.9, 0.75, 0.5])
    parser.add_argument("--latency", nargs="*", type=float, default=[])
    parser.add_argument("--methods", nargs="+", default=["svd", "prune", "svd+prune"])
    parser.add_argument("--levels", nargs="+", type=int, default=[1, 2], choices=[1, 2, 3])
    parser.add_argument("--bits", nargs="*", type=int, default=[], help="of weights, afterwards")
    parser.add_argument("--sentences", type=int, default=256, help="of level 2")
    parser.add_argument("--epochs", type=int, default=1, help="of level 3")
    parser.add_argument("--batch", type=int, default=32, help="sentences, of level 3")
    parser.add_argument("--rate", type=float, help="highest, of level 3")
    parser.add_argument("--precision", choices=["bf16"], help="of level 3")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    return parser


if __name__ == "__main__":
    main()
