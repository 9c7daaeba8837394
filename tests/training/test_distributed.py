"""Many processes: the same weights as one process with the same batches, DDP and FSDP alike."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tersor.training.checkpoint import NAME
from tests.training.setting import state
from tests.training.worker import train

ROOT = Path(__file__).parents[2]
# Sums over a batch are taken in another order; Adam divides by their size.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """The folder in which two processes train, with copies and in shares, and what they say."""
    folder = tmp_path_factory.mktemp("two")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node=2", "-m", "tests.training.worker", str(folder)]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(  # noqa: S603
        command, env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def difference(ours, theirs):
    assert ours.keys() == theirs.keys()
    return max(
        float((x - theirs[name]).abs().max() / x.abs().max().clamp(min=1e-12))
        for name, x in ours.items()
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process learns: this one."""
    return state(train(tmp_path_factory.mktemp("alone")))


def test_two_processes_learn_what_one_does(alone, by_two):
    folder, said = by_two
    assert re.search(r"steps/s, MULTI_CPU, processes: 2", said)
    assert difference(alone, load_file(folder / "copies" / "state")) < TOLERANCE


def test_so_do_two_that_share_the_parameters(alone, by_two):
    folder, said = by_two
    together = load_file(folder / "shares" / "state")
    assert re.search(r"steps/s, FSDP, processes: 2", said)
    assert difference(alone, together) < TOLERANCE
    # Its checkpoint is whole: one process goes on from it, here from its end.
    assert difference(together, state(train(folder / "shares"))) == 0


def test_kept_batchnorm_runs_in_shares(by_two):
    folder, said = by_two
    assert said.splitlines()[-1] == "done"
    assert (folder / "shares" / "kept" / NAME).exists()
