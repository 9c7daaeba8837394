"""Prints a table: what results of known quality are worth, and what the verdict says."""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.harness.table import Table, progress
from benchmarks.verdicts.case import Case
from benchmarks.verdicts.networks import classifiers, detector, transformer
from benchmarks.verdicts.nudenet import nudenet
from benchmarks.verdicts.small import small

GROUPS = {
    "small": small,
    "nudenet": nudenet,
    "classifiers": classifiers,
    "FastestDet": detector,
    "MiniLM": transformer,
}


def main() -> None:
    """Print one row per result, and how many verdicts are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(args, "network", "quantized with", "truth", "because it", "verdict", "reason")
    found: list[Case] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.groups:
            progress(name)
            for case in GROUPS[name](Path(folder)):
                found.append(case)
                add(table, case)
    right = sum(case.is_right for case in found)
    praised = sum(case.verdict == "good" and case.truth == "bad" for case in found)
    print(
        f"\n{right} of {len(found)} verdicts are right; {praised} ruined results are called good."
    )


def add(table: Table, case: Case) -> None:
    """One row."""
    verdict = case.proof.verdict
    mark = "" if case.is_right else " (wrong)"
    table.add(
        case.name,
        case.way,
        case.truth,
        case.why,
        f"{verdict.grade}{mark}",
        verdict.reason,
        network=case.name,
        way=case.way,
        truth=case.truth,
        why=case.why,
        **verdict.as_dict(),
    )


if __name__ == "__main__":
    main()
