"""What the jobs did when the limits were written, and which of them do more now."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks.cost_guard.count import Counts

FILE = Path(__file__).with_name("limits.json")
MOST = 1.2  # times the written counts


def grown(found: Mapping[str, Counts], written: Mapping[str, Counts]) -> list[str]:
    """Say which counts have grown too much, one sentence each.

    Args:
        found: Job → what it did.
        written: The same, when the limits were written.
    """
    said = []
    for job, counts in found.items():
        for what, count in counts.items():
            before = written[job][what]
            if count > MOST * before:
                said.append(
                    f"{job}: {count:,} {what}, {count / before - 1:.0%} more than {before:,}. Find "
                    "the reason, or write new limits with `python -m benchmarks.cost_guard --write`"
                )
    return said


def read() -> tuple[str, dict[str, Counts]]:
    """Read the version of PyTorch for which the limits were written, and the counts."""
    content = json.loads(FILE.read_text())
    return content["torch"], content["counts"]


def write(found: Mapping[str, Counts]) -> None:
    """Write new limits.

    Args:
        found: Job → what it did.
    """
    content = {"torch": torch.__version__.split("+")[0], "counts": found}
    FILE.write_text(json.dumps(content, indent=1) + "\n")
