"""Counts the work of six small jobs, which depends on no clock, and compares it with a limit.

    python -m benchmarks.cost_guard --write

The exit code is 1 when a count has grown by more than a fifth, and 3 when the limits were written
for another version of PyTorch. `--write` makes the present counts the new limits.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.cost_guard.count import counts
from benchmarks.cost_guard.jobs import jobs
from benchmarks.cost_guard.limits import grown, read, write
from benchmarks.harness import Table

_OTHER_VERSION = 3  # exit code


def main() -> int:
    """Print the table; the exit code says whether a count has grown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="these counts are the new limits")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table, found = Table(args, "job", "counted", "written", "now", "ratio"), {}
    version, written = read()
    with jobs() as every:
        for job in every:
            found[job.name] = counts(job.run)
            for what, now in found[job.name].items():
                before = written.get(job.name, {}).get(what, now)
                ratio = now / before if before else 1.0
                cells = job.name, what, f"{before:,}", f"{now:,}", f"{ratio:.2f}"
                table.add(*cells, job=job.name, what=what, before=before, now=now)
    if args.write:
        write(found)
        return 0
    if torch.__version__.split("+")[0] != version:
        print(f"The limits were written for PyTorch {version}; write new ones with --write")
        return _OTHER_VERSION
    said = grown(found, written)
    print(*said, sep="\n")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
