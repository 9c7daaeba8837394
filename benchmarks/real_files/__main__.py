"""ONNX files that people have, quantized by the command line and in onnxruntime's own ways.

Every file is used as its package uses it, on samples that were not used for calibration, and its
answers are compared with those of the float file. A cell holds the metric, the noise of the
worst output in dB, the CPU time of one run on one thread and the size, both relative to the float
file, and the CPU seconds of the command.
`truth` says how much the float file itself gets right
of what is known of the samples. `holds` says which claims hold with data: a, the file is written
and runs; b, names, types and axes of its inputs and outputs are those of the float file, where the
model is not PyTorch's; c, the metric reaches the figure beside it; d, the metric is not below the
better of onnxruntime's two ways, the time is not above float's, and the size is at most 0.35 of it
where weights are 90 % of the file.

    pip install -e ".[dev]"
    apt-get install espeak-ng      # else speech is made of harmonics
    python -m benchmarks.real_files
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.harness.table import Table
from benchmarks.real_files.entries import ENTRIES
from benchmarks.real_files.entry import Entry
from benchmarks.real_files.inputs import photographs, sound
from benchmarks.real_files.measure import Figures, Row, claims, measure
from benchmarks.real_files.variants import VARIANTS
from benchmarks.real_files.wheels import NotFetchedError, default_cache


def main() -> None:
    """Print the table: one row per file, and below it why files failed."""
    args = _parse()
    if args.cache is not None:
        os.environ["REAL_FILES"] = str(args.cache.resolve())
    table = Table(args, "file", "MB", "metric", "truth", *args.ways, "holds")
    rows, missing = [], []
    for name in args.files:
        entry = ENTRIES[name]
        try:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(entry, Path(folder), args.ways, args.rounds)
        except NotFetchedError as error:
            missing.append(str(error))
        else:
            add(table, row, entry)
            rows.append(row)
    print(f"\nInputs: {photographs.where_from()}; {sound.where_from()}.")
    for reason in missing:
        print(f"Not measured: {reason}.")
    for row in rows:
        remarks(row)


def add(table: Table, row: Row, entry: Entry) -> None:
    """Print one row."""
    table.add(
        row.name,
        f"{row.bytes / 1e6:.2f}",
        f"{entry.metric} ≥ {entry.least:g}",
        "–" if row.truth is None else f"{row.truth:.3f}",
        *(cell(figures) for figures in row.figures.values()),
        claims(row, entry),
        **row.as_dict(),
    )


def cell(figures: Figures) -> str:
    """Metric, noise, time, size and CPU seconds of one way."""
    if figures.score is None:
        return f"fails, {figures.seconds:.0f} s"
    parts = f"{figures.score:.3f}, {figures.sqnr:.0f} dB, {figures.time:.2f}×, {figures.size:.2f}"
    return f"{parts}, {figures.seconds:.0f} s"


def remarks(row: Row) -> None:
    """Say why a file was not made, or made anew, and what of its inputs and outputs differs."""
    for way, figures in row.figures.items():
        if figures.error:
            print(f"- {row.name}, {way}: {figures.error}")
        if figures.anew:
            print(f"- {row.name}, {way}: written anew, not edited: {figures.anew}")
        if figures.changed and way in ("no data", "data"):
            print(f"- {row.name}, {way}: {'; '.join(figures.changed)}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_argument = parser.add_argument
    everything, ways = list(ENTRIES), list(VARIANTS)
    named = f"of {', '.join(everything)}; default: all"
    add_argument("--files", nargs="+", choices=everything, default=everything, help=named)
    add_argument("--ways", nargs="+", choices=ways, default=ways, help="default: all")
    add_argument("--rounds", type=int, default=25, metavar="N", help="of timing; default: 25")
    where = f"where wheels are kept; default: {default_cache()}"
    add_argument("--cache", type=Path, metavar="FOLDER", help=where)
    add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
