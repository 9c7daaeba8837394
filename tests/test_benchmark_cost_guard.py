"""No job does a fifth more than when its limits were written, and counting sees when one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.cost_guard.count import counts
from benchmarks.cost_guard.limits import grown
from tersor.core import integer_kernels
from tersor.core.codes import Codes
from tersor.core.integer_convolution import IntegerConvolution, Setting

ROOT = Path(__file__).parents[1]
ZERO = torch.tensor(0)
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
    ones = torch.ones(32, 16, dtype=torch.int8)
    assert counts(lambda: torch.ops.aten._int_mm(ones, ones.T))["multiplications"] == 32 * 16 * 32
    one, two = (counts(lambda n=n: [x + 1 for _ in range(n)])["operators"] for n in (1, 2))
    assert (one, two) == (1, 2)
    assert counts(lambda: [abs(1) for _ in range(50)])["calls"] >= 50


@pytest.mark.skipif(not integer_kernels.are_fast(), reason="convolutions of floats are faster here")
def test_convolutions_of_integers_are_counted():
    weight = Codes(torch.ones(4, 3, 3, 3, dtype=torch.int8), torch.ones(4), ZERO, 0, torch.float32)
    given = Codes(
        torch.ones(2, 3, 5, 5, dtype=torch.uint8), torch.tensor(0.5), ZERO, None, torch.float32
    )
    convolve = IntegerConvolution(weight, None, Setting([1, 1], [1, 1], [1, 1], 1))
    assert counts(lambda: convolve(given))["multiplications"] == 2 * 4 * 5 * 5 * 3 * 3 * 3


def test_what_has_grown_is_named():
    (said,) = grown(
        {"export": {"calls": 121, "operators": 120}}, {"export": {"calls": 100, "operators": 100}}
    )
    assert said.startswith("export: 121 calls, 21% more than 100.")
