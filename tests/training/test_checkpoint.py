"""Checkpoints: a run that was stopped anywhere ends as one that was not."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import tersor
from tersor.errors import CheckpointWarning, InvalidInputError
from tersor.training import checkpoint
from tersor.training.checkpoint import BEFORE, NAME, Checkpoint
from tersor.training.damping import Freezing
from tersor.training.log import NAME as LOG
from tersor.training.log import Log
from tests.training.setting import (
    Shuffled,
    batches,
    difference,
    labelled,
    noisy_loss,
    quantized,
    short,
)

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


def test_foreign_checkpoints_are_refused(tmp_path):
    options = short(checkpoint_every=3)
    tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path)
    for what, start, given, chosen in (
        ("other options", quantized(), Shuffled(), short(rate=0.5)),
        ("another network", quantized(bits=2), Shuffled(), options),
        ("other data", quantized(), Shuffled(5), options),
        ("other data", quantized(), batches(size=4), options),
    ):
        with pytest.raises(InvalidInputError, match=f"belongs to a run with .*{what}.*; give"):
            tersor.train(start, given, options=chosen, folder=tmp_path)
    # How often something is written changes nothing.
    tersor.train(quantized(), Shuffled(), options=short(checkpoint_every=5), folder=tmp_path)


def test_batches_that_are_others_each_time_can_be_resumed(tmp_path):
    generator = torch.Generator().manual_seed(0)

    def noise():
        return (torch.randn(8, 3, 8, 8, generator=generator) for _ in range(6))

    for _ in range(2):
        options = short(epochs=1, steps=6, name="noise")
        tersor.train(quantized(), noise, options=options, folder=tmp_path)


def _scaled(weight):
    return lambda outputs, targets: weight * F.cross_entropy(outputs, targets)


def _smoothed(outputs, targets, label_smoothing=0.0):
    return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_scaled(1.0), _scaled(2.0)),
        (partial(_smoothed, label_smoothing=0.1), partial(_smoothed, label_smoothing=0.2)),
        (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.2)),
        (lambda y, t: F.cross_entropy(y, t), lambda y, t: F.cross_entropy(2 * y, t)),
    ],
    ids=["closure", "partial", "module", "lambda"],
)
def test_a_checkpoint_of_another_loss_is_refused(first, second, tmp_path):
    given = {"options": short(epochs=1), "folder": tmp_path}
    for _ in range(2):
        tersor.train(quantized(), labelled(2), first, **given)
    with pytest.raises(InvalidInputError, match="a run with another loss;"):
        tersor.train(quantized(), labelled(2), second, **given)


def _damaged(whole):
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    later = whole.replace(b'step\\": 12', b'step\\": 13')
    assert later != whole
    return [bytes(flipped), later, whole[:-50], b""]


def test_after_damage_the_run_goes_on_from_the_checkpoint_before(tmp_path):
    options = short(checkpoint_every=3)
    first = tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path)
    path, before = tmp_path / NAME, tmp_path / BEFORE
    whole, kept = path.read_bytes(), before.read_bytes()
    for damaged in _damaged(whole):
        path.write_bytes(damaged)
        before.write_bytes(kept)
        with pytest.warns(CheckpointWarning, match=r"is damaged.*goes on from .*, at step 9"):
            again = tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path)
        assert difference(first, again) == 0
    path.write_bytes(b"")
    before.write_bytes(whole[:-50])
    with pytest.raises(InvalidInputError, match="is damaged"):
        tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path)


def test_a_damaged_checkpoint_never_takes_the_place_of_the_whole_one(tmp_path, monkeypatch):
    kept = Checkpoint.open(tmp_path, {"network": "x"})
    for step in (1, 2):
        kept.write(step, {"w": torch.full((3,), float(step))})
    kept.path.write_bytes(kept.path.read_bytes()[:-1])
    with pytest.warns(CheckpointWarning, match="at step 1"):
        kept.read()
    monkeypatch.setattr(checkpoint, "write_tensors", lambda *_: stopping_at(0)(0, 0, 0))
    with pytest.raises(Stop):
        kept.write(2, {"w": torch.ones(3)})
    found = kept.read()
    assert found is not None
    assert found[0] == 1


def test_a_checkpoint_with_a_note_that_is_too_deep(tmp_path):
    kept = Checkpoint.open(tmp_path, {"network": "x"})
    save_file({"w": torch.ones(3)}, kept.path, {"run": "[" * 200_000})
    with pytest.raises(InvalidInputError, match="is damaged"):
        kept.read()


@pytest.mark.parametrize("stop", [5, 8])
def test_the_losses_are_those_of_a_run_that_was_not_stopped(stop, whole, tmp_path):
    options = short(**EVERYTHING)
    with pytest.raises(Stop):
        tersor.train(
            quantized(), Shuffled(), options=options, folder=tmp_path, on_batch=stopping_at(stop)
        )
    resumed = tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path)
    lines = [[(x.step, x.loss, x.rate, x.frozen) for x in q.training] for q in (whole, resumed)]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x00,\n\n", b"step,loss\n1e999,1\n", b"\x00" * 50])
def test_garbage_in_the_log_is_dropped(garbage, tmp_path):
    (tmp_path / LOG).write_bytes(garbage)
    log = Log(tmp_path, tensorboard=False)
    assert log.lines == []
    assert (tmp_path / LOG).read_text().splitlines() == ["step,loss,rate,frozen,seconds"]


@torch.no_grad()
def test_training_needs_no_gradients_outside(whole):
    again = tersor.train(quantized(), Shuffled(), options=short(**EVERYTHING))
    assert difference(whole, again) == 0


def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(InvalidInputError, match="no plain file"):
        Checkpoint.open(tmp_path, {"network": "x"}).read()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot keep checkpoints"):
        tersor.train(quantized(), Shuffled(), options=short(), folder=tmp_path / "file")
