"""Checkpoints: a run that was stopped anywhere ends as one that was not."""

import os
import signal
import subprocess
import sys
import time

import pytest

import tersor
from tersor.errors import InvalidInputError
from tersor.training.checkpoint import NAME
from tersor.training.damping import Freezing
from tersor.training.log import NAME as LOG
from tests.training.setting import Shuffled, difference, labelled, noisy_loss, quantized, short

EVERYTHING = {
    "ema": 0.9,
    "accumulate": 2,
    "freezing": Freezing(first=0.02, last=0.001),
    "rate": 0.02,
    "checkpoint_every": 1,
}


class Stop(Exception):  # noqa: N818
    """Not an error."""


def stopping_at(step):
    def on_batch(done, total, loss):
        if done == step:
            raise Stop

    return on_batch


@pytest.fixture(scope="module")
def whole():
    """What a run ends as that was not stopped."""
    return tersor.train(quantized(), Shuffled(), options=short(**EVERYTHING))


@pytest.mark.parametrize("step", [1, 5, 8, 12])
def test_a_stopped_run_goes_on_to_the_same_result(step, whole, tmp_path):
    options = short(**EVERYTHING)
    with pytest.raises(Stop):
        tersor.train(
            quantized(), Shuffled(), options=options, folder=tmp_path, on_batch=stopping_at(step)
        )
    told = []
    resumed = tersor.train(
        quantized(),
        Shuffled(),
        options=options,
        folder=tmp_path,
        on_batch=lambda done, total, loss: told.append(done),
    )
    assert difference(whole, resumed) == 0
    last_kept = (step - 1) // 2 * 2  # a checkpoint after every two batches; stopped before it
    assert told == list(range(last_kept + 1, 13))


def test_a_loss_that_draws_random_numbers(tmp_path):
    options = short(checkpoint_every=1)
    whole = tersor.train(quantized(), labelled(), noisy_loss, options=options)
    with pytest.raises(Stop):
        tersor.train(
            quantized(), labelled(), noisy_loss, options=options, folder=tmp_path,
            on_batch=stopping_at(8),
        )  # fmt: skip
    resumed = tersor.train(quantized(), labelled(), noisy_loss, options=options, folder=tmp_path)
    assert difference(whole, resumed) == 0


def test_a_finished_run_is_read(tmp_path):
    first = tersor.train(quantized(), Shuffled(), options=short(), folder=tmp_path)
    told = []
    again = tersor.train(
        quantized(), Shuffled(), options=short(), folder=tmp_path,
        on_batch=lambda *said: told.append(said),
    )  # fmt: skip
    assert not told
    assert difference(first, again) == 0


RUN = """
import sys, time, tersor
from tests.training.setting import Shuffled, quantized, short
from tests.training.test_checkpoint import EVERYTHING
def slowly(done, total, loss):
    print(done, flush=True)
    time.sleep(0.2)
tersor.train(quantized(), Shuffled(), options=short(**EVERYTHING), folder=sys.argv[1],
             on_batch=slowly)
"""


def test_a_killed_process_loses_no_more_than_the_interval(whole, tmp_path):
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "7":
            break
    time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    options = short(**EVERYTHING)
    told = []
    resumed = tersor.train(
        quantized(), Shuffled(), options=options, folder=tmp_path,
        on_batch=lambda done, total, loss: told.append(done),
    )  # fmt: skip
    assert told[0] in (7, 9)
    assert difference(whole, resumed) == 0
    steps = [int(line.split(",")[0]) for line in (tmp_path / LOG).read_text().splitlines()[1:]]
    assert steps == [3, 6, 9, 12]


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    options = short(checkpoint_every=3)
    tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path)
    path = tmp_path / NAME
    with pytest.raises(InvalidInputError, match="another network or other options"):
        tersor.train(quantized(), Shuffled(), options=short(rate=0.5), folder=tmp_path)
    with pytest.raises(InvalidInputError, match="another network or other options"):
        tersor.train(quantized(bits=2), Shuffled(), options=options, folder=tmp_path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    for damaged in (bytes(flipped), whole[:-50], whole[:4], b""):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInputError, match="is damaged"):
            tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path)
    path.write_bytes(whole)
    # How often something is written changes nothing.
    tersor.train(quantized(), Shuffled(), options=short(checkpoint_every=5), folder=tmp_path)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot keep checkpoints"):
        tersor.train(quantized(), Shuffled(), options=short(), folder=tmp_path / "file")
