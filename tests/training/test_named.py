"""What nothing tells is asked for by a name, and a folder has one process at a time."""

import os

import pytest
import torch

import tersor
from tersor import Training
from tersor.data.runs.described import untold
from tersor.errors import InvalidInputError
from tersor.files import held
from tests.training.setting import inputs, quantized


class Restless:
    """Batches that no seed repeats."""

    def __len__(self):
        return 2

    def __iter__(self):
        for _ in range(2):
            seed = int.from_bytes(os.urandom(4), "little")
            yield inputs(8, seed)


def trained(folder, batches, loss=None, **options):
    options = Training(epochs=1, **options)
    return tersor.train(quantized(), batches, loss, options=options, folder=folder)


def test_batches_that_change_are_asked_for_a_name(tmp_path):
    with pytest.raises(InvalidInputError, match=r"others each time.*Training\(name="):
        trained(tmp_path, Restless())
    trained(tmp_path, Restless(), name="first")
    trained(tmp_path, Restless(), name="first")  # goes on
    with pytest.raises(InvalidInputError, match="with another name"):
        trained(tmp_path, Restless(), name="second")
    with pytest.raises(InvalidInputError, match="name='first' has no effect without folder="):
        trained(None, Restless(), name="first")
    trained(None, Restless())


class Empty:
    pass


class Slots:
    __slots__ = ("value",)


class Loss:
    """Holds what Python cannot see into."""

    def __init__(self, hidden):
        self.hidden = hidden

    def __call__(self, outputs, targets):
        return (outputs.mean(1) - targets).square().mean()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_loss_that_cannot_be_told_is_asked_for_a_name(tmp_path):
    batches = [(inputs(8), torch.zeros(8))]
    loss = Loss(memoryview(b"hidden"))
    with pytest.raises(InvalidInputError, match=r"the loss holds 'builtins\.memoryview'"):
        trained(tmp_path, batches, loss)
    trained(tmp_path, batches, loss, name="first")
    with pytest.raises(InvalidInputError, match="another name"):
        trained(tmp_path, batches, loss, name="second")
    assert untold(torch.jit.trace(torch.relu, torch.ones(1)))
    assert not untold(
        [Empty(), Slots(), Loss(3), torch.nn.CrossEntropyLoss(), len, torch.relu, Loss.__call__]
    )


def test_one_process_trains_in_a_folder(tmp_path):
    batches = list(inputs(16).split(8))
    with held(tmp_path), pytest.raises(InvalidInputError, match="another process is working in"):
        trained(tmp_path, batches)
    trained(tmp_path, batches)


def test_a_metric_that_cannot_be_told_is_asked_for_a_name(tmp_path):
    hidden = Loss(memoryview(b"hidden"))
    network, x = quantized().original, inputs(16)

    def compressed(name, folder):
        options = tersor.Compression(methods=("prune",), ratios=(0.5,), name=name)
        metric = lambda a, b: float((a - b).abs().mean()) + 0 * len(hidden.hidden)  # noqa: E731
        return tersor.compress(
            network, macs=0.9, data=x, metric=metric, options=options, folder=folder
        )

    with pytest.raises(InvalidInputError, match=r"the metric holds 'builtins\.memoryview'"):
        compressed("", tmp_path)
    compressed("first", tmp_path)
    with pytest.raises(InvalidInputError, match="another name"):
        compressed("second", tmp_path)
    with pytest.raises(InvalidInputError, match="has no effect without folder"):
        compressed("first", None)
