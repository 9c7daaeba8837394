"""Feed broken files to the readers: every one is read, or refused with a TersorError.

    python -m benchmarks.fuzz onnx --inputs 100000
    python -m benchmarks.fuzz pt2 --inputs 5000
    python -m benchmarks.fuzz npz --inputs 20000
    python -m benchmarks.fuzz tersor --inputs 1000

Input number n is the same at every run. An input may take ten seconds of
the CPU and 4 GiB; no file may appear, and nothing outside of the folder may be read.
"""

import argparse
import json
import sys

from benchmarks.fuzz.kinds import KINDS
from benchmarks.fuzz.workers import run


def main() -> None:
    """Run, and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("kind", choices=KINDS)
    arguments.add_argument("--inputs", type=int, default=1000)
    arguments.add_argument("--first", type=int, default=0)
    arguments.add_argument("--seconds", type=float, default=float("inf"))
    options = arguments.parse_args()
    numbers = range(options.first, options.first + options.inputs)
    tally = run(options.kind, numbers, options.seconds)
    print(json.dumps(dict(tally.outcomes), indent=2))
    print(f"inputs {tally.outcomes.total()}, slowest {tally.slowest:.1f} s")
    for number, what in tally.failures[:20]:
        print(number, what)
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
