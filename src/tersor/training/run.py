"""A training: a network, what it learns from, and where the run is kept."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tersor.data.journal import fingerprint
from tersor.data.outputs import noise_to_signal
from tersor.errors import InvalidInputError
from tersor.graph.mode import set_training
from tersor.graph.network import Applied, Network
from tersor.graph.simplify import fold
from tersor.quant.scheme import Scheme
from tersor.training.checkpoint import Checkpoint
from tersor.training.feed import Batches, Feed
from tersor.training.kept_batchnorm import keep_batchnorm, settle_batchnorm
from tersor.training.log import Line, OnBatch
from tersor.training.loop import Penalty, run_training
from tersor.training.objective import Distillation, Loss
from tersor.training.options import Training

_SEEN = 128  # samples that tell how much compression changed


@dataclass(frozen=True)
class TrainingRun:
    """What a training is made of.

    Attributes:
        network: Where it starts from; it is not changed.
        original: The float network, which teaches where there is no loss.
        batches: See `tersor.train`, as the following.
        loss: What is minimised.
        options: How.
        folder: Keeps checkpoints and the log.
        on_batch: Called after each batch.
        scheme: The format that the network is quantized to, if it is.
    """

    network: Network
    original: Network
    batches: Batches
    loss: Loss | None
    options: Training
    folder: str | Path | None = None
    on_batch: OnBatch | None = None
    scheme: Scheme | None = None

    @property
    def feed(self) -> Feed:
        """The batches as arguments of the network."""
        return Feed(self.network, self.batches, self.loss is not None, self.options.seed)

    def of(self, network: Network, penalty: Penalty | None = None, *also: Any) -> list[Line]:
        """Train a network that is ready for it.

        Args:
            network: Its parameters are set in the end.
            penalty: See `tersor.training.loop.run_training`.
            also: What the result depends on besides, for the checkpoint to know.

        Returns:
            The log.
        """
        options = self.options
        if options.tensorboard and self.folder is None:
            raise InvalidInputError(
                "Training(tensorboard=True) needs a folder for its log; give one"
            )
        checkpoint = None
        if self.folder is not None:
            checkpoint = Checkpoint.open(self.folder, self._fingerprint(also))
        objective = self.loss or _distillation(self.original, options)
        return run_training(
            network, self.feed, objective, options, checkpoint, self.on_batch, penalty
        )

    def _fingerprint(self, also: tuple[Any, ...]) -> str:
        """A hash of all that the result depends on, but for the batches."""
        named = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        ours = replace(self.options, log_every=1, checkpoint_every=1, tensorboard=False)
        return fingerprint(self.network, [], (self.scheme, named, ours, *also))


def train_network(
    network: Network, run: TrainingRun, penalty: Penalty | None = None, *also: Any
) -> list[Line]:
    """Train all weights of a float network, with BatchNorms where some were folded.

    Args:
        network: Edited in place.
        run: The training.
        penalty: See `TrainingRun.of`.
        also: See `TrainingRun.of`.

    Returns:
        The log.
    """
    network.module.requires_grad_(True)
    if run.options.keeps_batchnorm:
        keep_batchnorm(network)
    set_training(network, True)
    lines = run.of(network, penalty, *also)
    set_training(network, False)
    settle_batchnorm(network)
    network.records.append(record(lines, "weights trained", rate=run.options.highest_rate))
    return lines


def train_compressed(run: TrainingRun) -> tuple[Network, list[Line]]:
    """Train a compressed network, the start of the training: what comes of it, and the log."""
    network = run.network.copy()
    lost = _lost(run) if run.options.rate is None else 0.0  # nothing else depends on it
    return network, train_network(network, replace(run, options=run.options.near(lost)))


@torch.no_grad()
def _lost(run: TrainingRun) -> float:
    """What compression did to the outputs for the first batches."""
    pairs = [
        (run.network(*args, **kwargs), run.original(*args, **kwargs))
        for args, kwargs in run.feed.inputs(_SEEN)
    ]
    return noise_to_signal(*map(list, zip(*pairs, strict=True)))


def _distillation(original: Network, options: Training) -> Distillation:
    """The float network as teacher, BatchNorms folded."""
    teacher = original.copy()
    fold(teacher)
    return Distillation(teacher.module.requires_grad_(False), options.temperature, options.distil)


def record(lines: list[Line], what: str, **numbers: float) -> Applied:
    """What a training did, for the report.

    Args:
        lines: Its log.
        what: One plain sentence.
        numbers: Figures worth printing besides.
    """
    if lines:
        numbers |= {"steps": float(lines[-1].step)}
        numbers |= {"loss before": lines[0].loss, "loss after": lines[-1].loss}
    return Applied("network", "train", what, numbers)
