"""No job does a fifth more than when its limits were written, and counting sees when one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.cost_guard.count import counts
from benchmarks.cost_guard.limits import grown

ROOT = Path(__file__).parents[1]
_SLOW_PROTOBUF = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"  # set by a library that other tests load


def test_no_job_does_much_more_than_before():
    command = [sys.executable, "-m", "benchmarks.cost_guard"]
    env = {k: v for k, v in os.environ.items() if k != _SLOW_PROTOBUF}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    last = run.stdout.strip().splitlines()[-1]
    if run.returncode == 3:
        pytest.skip(last)
    assert run.returncode == 0, run.stdout + run.stderr


def test_counts_are_exact():
    x = torch.ones(2, 3)
    assert counts(lambda: x @ x.T)["multiplications"] == 2 * 3 * 2
    one, two = (counts(lambda n=n: [x + 1 for _ in range(n)])["operators"] for n in (1, 2))
    assert (one, two) == (1, 2)
    assert counts(lambda: [abs(1) for _ in range(50)])["calls"] >= 50


def test_what_has_grown_is_named():
    (said,) = grown(
        {"export": {"calls": 121, "operators": 120}}, {"export": {"calls": 100, "operators": 100}}
    )
    assert said.startswith("export: 121 calls, 21% more than 100.")
