"""Mutation testing: how many small changes to the code do its tests see?

    python -m benchmarks.mutants src/tersor/core src/tersor/quant --per-file 6

Changes are drawn at random: an operator, a number, a condition, an argument, a call (`changes.py`).
Each is tried by the tests that lie where the changed module lies; what these do not see, by the
tests that import it; and if there are neither, by the tests of the modules that import it. What is
left over is printed: either a hole in the tests, or a change that makes no difference. Types are
not checked while it runs.
"""

import argparse
import json
import os
import random
import resource
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import onnxruntime  # noqa: F401  loaded once: each trial is a fork of this process
import onnxscript  # noqa: F401
import scipy.optimize  # noqa: F401
import tensorly  # noqa: F401
import torch.export
import torch.onnx  # noqa: F401

from benchmarks.mutants.changes import change, changes
from benchmarks.mutants.tests_of import SOURCE, rings
from benchmarks.mutants.trial import FAILED, PASSED, trial


class Clock:
    """The CPU time that each file of tests takes, unchanged; those that fail then see nothing."""

    def __init__(self, limit: float) -> None:
        """Measure nothing yet.

        Args:
            limit: Seconds that the tests for one change may take together.
        """
        self.limit, self.known = limit, dict[Path, float]()

    def quick(self, tests: list[Path]) -> list[Path]:
        """Those that pass, the quickest first, as many as the limit allows.

        Args:
            tests: Files of tests.
        """
        for test in tests:
            if test not in self.known:
                start = _cpu_seconds()
                passed = trial([test], 5 * self.limit) == PASSED
                self.known[test] = _cpu_seconds() - start if passed else float("inf")
        ordered = sorted(tests, key=self.known.__getitem__)
        until = list(accumulate(map(self.known.__getitem__, ordered)))
        return [test for test, seconds in zip(ordered, until, strict=True) if seconds <= self.limit]

    def patience(self, tests: list[Path]) -> float:
        """Seconds after which a changed module is taken to hang.

        Args:
            tests: Files of tests.
        """
        return 20 + 5 * sum(self.known[test] for test in tests)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def judge(clock: Clock, file: Path, spot: tuple[int, int]) -> dict[str, Any]:
    """Try one change; says what it is and whether the tests saw it.

    Args:
        clock: The tests' times.
        file: The module's file.
        spot: Which change.
    """
    made = change(file.read_text(), *spot)
    name = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
    seen, by, tried = PASSED, "", 0
    for ring, found in rings(file).items():
        is_due = seen == PASSED and (ring != "far" or not tried)
        tests = clock.quick(found) if is_due else []
        tried += len(tests)
        if tests:
            seen, by = trial(tests, clock.patience(tests), name, made.tree), ring
    return {
        "file": str(file),
        "spot": spot,
        "line": made.line,
        "before": made.before.split("\n")[0],
        "after": made.after.split("\n")[0],
        "seen": seen,
        "by": by if seen != PASSED else "",
        "tried": tried,
    }


def drawn(file: Path, number: int, seed: int) -> list[tuple[int, int]]:
    """Some changes to a file, at random.

    Args:
        file: The module's file.
        number: How many, at most.
        seed: Another one draws others.
    """
    found = changes(file.read_text())
    rng = random.Random(f"{seed} {file}")  # noqa: S311
    rng.shuffle(found)
    return found[:number]


def main() -> None:
    """Print what the tests do not see, and the score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", type=Path, help="files or folders below src/")
    parser.add_argument("--per-file", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--limit", type=float, default=30, help="seconds that the tests for a change may take"
    )
    parser.add_argument("--log", type=Path, help="a line of JSON for each change; goes on there")
    args = parser.parse_args()
    clock, rows = Clock(args.limit), _before(args.log)
    files = [f for path in args.paths for f in (sorted(path.rglob("*.py")) or [path])]
    spots = [[(file, spot) for spot in drawn(file, args.per_file, args.seed)] for file in files]
    for file, spot in [drawn for turn in zip_longest(*spots) for drawn in turn if drawn]:
        if (str(file), list(spot)) in [(row["file"], list(row["spot"])) for row in rows]:
            continue
        rows.append(judge(clock, file, spot))
        if args.log:
            with args.log.open("a") as log:
                print(json.dumps(rows[-1]), file=log)
    for row in rows:
        if row["seen"] == PASSED:
            print(f"{row['file']}:{row['line']}: {row['before']}  →  {row['after']}")
    seen = sum(row["seen"] != PASSED for row in rows)
    failed = sum(row["seen"] == FAILED for row in rows)
    print(f"{seen} of {len(rows)} changes were seen ({failed} failed, {seen - failed} too slow)")


def _before(log: Path | None) -> list[dict[str, Any]]:
    if log is None or not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines()]


if __name__ == "__main__":
    main()
