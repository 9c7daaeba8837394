"""Prints what a tolerance reaches on unseen samples, and each layer in float with its price.

The noise is that of the worst part of the worst output. Times are those of one run of one batch on
one thread, all three files in turns. Seconds are CPU seconds of `quantize`.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import torch

import tersor
from benchmarks.harness.table import Table, progress
from benchmarks.tolerance.networks import NETWORKS, Subject, latencies
from tersor.graph.network import Applied, Record
from tersor.quant.tolerance import Allowed


@dataclass(frozen=True)
class Made:
    """A quantized file.

    Attributes:
        path: The file.
        decibels: Of the worst part, on unseen samples.
        seconds: CPU seconds of `quantize`.
        records: What the tolerance did.
    """

    path: Path
    decibels: float
    seconds: float
    records: tuple[Record, ...]


def main() -> None:
    """Print one row per network, and then the layers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--bound", type=float, default=20.0, metavar="DB", help="default: 20")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: 15")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    titles = ("network", "bound", "plain", "held", "layers in float", "predicted time")
    table = Table(args, *titles, "time, plain", "time, held", "size, plain", "size, held", "CPU s")
    told: list[str] = []
    for name in args.networks:
        progress(name)
        with tempfile.TemporaryDirectory() as folder:
            told += row(table, name, NETWORKS[name](Path(folder)), args, Path(folder))
    print("\n" + "\n".join(told))


def row(
    table: Table, name: str, subject: Subject, args: argparse.Namespace, folder: Path
) -> list[str]:
    """Measure a network; returns what is told of its layers."""
    plain = make(subject, None, folder / "plain.onnx")
    held = make(subject, args.bound, folder / "held.onnx")
    times = latencies(subject, (plain.path, held.path), args.rounds)
    sizes = [x.path.stat().st_size / subject.floating.stat().st_size for x in (plain, held)]
    *layers, last = held.records
    words = last.what if isinstance(last, Applied) else last.reason
    table.add(
        name,
        f"{args.bound:g}",
        f"{plain.decibels:.1f}",
        f"{held.decibels:.1f}",
        str(len(layers)),
        f"{sum(shares(layers)):+.3f}",
        *(f"{x:.2f}" for x in (*times, *sizes)),
        f"{plain.seconds:.0f} → {held.seconds:.0f}",
        network=name,
        bound=args.bound,
        decibels=[plain.decibels, held.decibels],
        times=times,
        sizes=sizes,
        seconds=[plain.seconds, held.seconds],
        layers=[[x.layer, getattr(x, "numbers", {})] for x in layers],
        said=words,
    )
    return [f"- {name}: {words}"]


def shares(layers: list[Record]) -> list[float]:
    """What each layer costs, as a share of the float network's time."""
    return [x.numbers["share of time"] for x in layers if isinstance(x, Applied)]


def make(subject: Subject, tolerance: Allowed | None, path: Path) -> Made:
    """Quantize a network, and measure the file."""
    start = process_time()
    result = tersor.quantize(
        subject.model, subject.example, data=subject.learned, tolerance=tolerance
    )
    seconds = process_time() - start
    result.export(path)
    proof = tersor.verify(subject.floating, path, subject.unseen, latency=False)
    worst = min(part.sqnr for output in proof.quantized.values() for part in output.parts)
    records = tuple(record for record in result.records if record.step == "tolerance")
    return Made(path, worst, seconds, records)


if __name__ == "__main__":
    main()
