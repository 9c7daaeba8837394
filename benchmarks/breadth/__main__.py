"""Capture → fold → equalize → quantize → export → onnxruntime, over as many architectures as fit.

Weights are random: no file is downloaded, and nothing is said about accuracy. A row passes if the
model was captured, quantized, exported and run. It agrees if simulation and runtime reach an SQNR
of 30 dB on 8 samples, or come within 1.5 dB of what exact kernels reach. Random networks amplify
differences: one value that two correct computations round to different neighbours can change all
of a sample's output. The columns `float64` (the simulation against itself in double precision) and
`median sample` tell that from a systematic difference.

An environment with all three libraries (5 GB with the default torch, less with a CPU build):

    python -m venv env && . env/bin/activate
    pip install torch torchvision timm transformers -e .
    python -m benchmarks.breadth --results breadth.jsonl

Each architecture has a process of its own, with limits of time and memory. Results are appended to
a file; a second run skips what is there. `--table` prints the file as a table and runs nothing.
"""

import argparse
import os
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.breadth.results import Results
from benchmarks.breadth.runner import Limits, run_all
from benchmarks.breadth.table import print_table

LIBRARIES = ("torchvision", "timm", "transformers")


def main() -> None:
    """Run what is missing, then print the table."""
    args = _parse()
    os.environ["HF_HUB_OFFLINE"] = "1"
    results = Results(args.results)
    if not args.table:
        wanted = [
            (library, name)
            for library in args.library
            for name in _names(library)
            if fnmatch(name, args.models) and not results.has(library, name, args.retry_failed)
        ]
        limits = Limits(args.timeout, args.memory, args.threads)
        run_all(wanted[: args.limit], args.jobs, limits, results)
    print_table(results, args.summary)


def _names(library: str) -> list[str]:
    from benchmarks.breadth.libraries import candidates

    return list(candidates(library))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    add("--models", default="*", metavar="PATTERN", help="names, with * and ?; default: all")
    add("--limit", type=int, metavar="N", help="at most N architectures in this run")
    add("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    add("--threads", type=int, default=1, metavar="N", help="threads of each process")
    add("--timeout", type=int, default=300, metavar="SECONDS", help="for one architecture")
    add("--memory", type=int, default=8, metavar="GIB", help="for one architecture")
    add("--results", type=Path, default=Path("breadth.jsonl"), metavar="PATH")
    add("--retry-failed", action="store_true", help="run what failed before again")
    add("--table", action="store_true", help="print the results there are; run nothing")
    add("--summary", action="store_true", help="no row for each architecture")
    return parser.parse_args()


if __name__ == "__main__":
    main()
