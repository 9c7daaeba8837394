"""Level 3: train a quantized or a compressed network, here or in a loop of one's own.

LSQ+, arXiv 2004.09576: steps and offsets of the quantizers are trained with the weights
(`tersor.quant.lsq`). `train` is one loop (`tersor.train.loop`); `trainable` gives the network to
any other, and `Trainable.quantized` takes it back.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from tersor.compressed import Compressed
from tersor.data.journal import fingerprint
from tersor.data.outputs import noise_to_signal
from tersor.errors import InvalidInputError
from tersor.graph.mode import set_training
from tersor.graph.network import Applied, Network
from tersor.graph.simplify import fold
from tersor.quant.lsq import LSQ, learn
from tersor.quant.overflow import guard_bias_overflow
from tersor.quantized import Quantized
from tersor.report.progress import training_bar
from tersor.train.batchnorm import (
    keep_batchnorm,
    normalize_by_batch,
    settle_batchnorm,
)
from tersor.train.checkpoint import Checkpoint
from tersor.train.feed import Batches, Feed
from tersor.train.log import Line, OnBatch
from tersor.train.loop import Penalty, fit
from tersor.train.objective import Distillation, Loss
from tersor.train.options import Training

T = TypeVar("T", Quantized, Compressed)
_SEEN = 128  # samples that tell how much compression changed


def train(
    start: T,
    batches: Batches,
    loss: Loss | None = None,
    *,
    options: Training | None = None,
    folder: str | Path | None = None,
    on_batch: OnBatch | None = None,
) -> T:
    """Train a quantized or a compressed network: level 3.

    Of a quantized one, quantizers and weights are trained together, for 4 bits and fewer. Of a
    compressed one the weights learn what was lost, in small steps.

    Args:
        start: What `quantize` or `compress` returned; it is not changed.
        batches: What to go through in each epoch: a `DataLoader`, a list, or a function that
            returns an iterable. Without a loss a batch is as for `quantize(data=…)`; with one it is
            a pair `(inputs, targets)`.
        loss: `loss(outputs, targets)`, a number. Default: the distance to the outputs of the float
            network, for which no labels are needed.
        options: See `Training`.
        folder: Keeps checkpoints and the log. A run that was stopped goes on from there, with the
            result of a run without a stop.
        on_batch: Called after each batch, with how many are done, how many there are, and the last
            loss that was noted. Default: a progress bar, in a terminal.

    Returns:
        The trained network.

    Raises:
        TersorError: A batch, an option or a checkpoint is unfit; the message says what to do.
    """
    if not isinstance(start, Quantized | Compressed):
        raise InvalidInputError(
            f"a {type(start).__name__} cannot be trained here; give what `tersor.quantize` or "
            "`tersor.compress` returned"
        )
    options = options or Training()
    run = TrainingRun(start, batches, loss, options, folder, on_batch)
    if isinstance(start, Compressed):
        return train_compressed(run)
    return _train_quantized(start, run)


@dataclass(frozen=True)
class TrainingRun:
    """What a training is made of, but for the network.

    Attributes:
        start: What `quantize` or `compress` returned, with the float model.
        batches: See `train`.
        loss: Idem.
        options: Idem.
        folder: Idem.
        on_batch: Idem.
    """

    start: Quantized | Compressed
    batches: Batches
    loss: Loss | None
    options: Training
    folder: str | Path | None = None
    on_batch: OnBatch | None = None

    @property
    def feed(self) -> Feed:
        """The batches as arguments of the network."""
        return Feed(self.start.network, self.batches, self.loss is not None, self.options.seed)

    def of(self, network: Network, penalty: Penalty | None = None, *also: Any) -> list[Line]:
        """Train a network that is ready for it.

        Args:
            network: Its parameters are set in the end.
            penalty: See `tersor.train.loop.fit`.
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
        objective = self.loss or _distillation(self.start.original, options)
        with training_bar(self.on_batch) as bar:
            return fit(network, self.feed, objective, options, checkpoint, bar, penalty)

    def _fingerprint(self, also: tuple[Any, ...]) -> str:
        """A hash of all that the result depends on, but for the batches."""
        named = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        ours = replace(self.options, log_every=1, checkpoint_every=1, tensorboard=False)
        scheme = self.start.scheme if isinstance(self.start, Quantized) else None
        return fingerprint(self.start.network, [], (scheme, named, ours, *also))


def train_network(
    network: Network, run: TrainingRun, penalty: Penalty | None = None, *also: Any
) -> None:
    """Train all weights of a float network, with BatchNorms where some were folded.

    Args:
        network: Edited in place.
        run: The training.
        penalty: See `TrainingRun.of`.
        also: Idem.

    """
    network.module.requires_grad_(True)
    if run.options.keeps_batchnorm:
        keep_batchnorm(network)
    set_training(network, True)
    lines = run.of(network, penalty, *also)
    set_training(network, False)
    settle_batchnorm(network)
    network.records.append(_record(lines, "weights trained", rate=run.options.highest_rate))


def train_compressed(run: TrainingRun) -> Compressed:
    """Train a compressed network, the start of the training, which is not changed."""
    network = run.start.network.copy()
    lost = _lost(run) if run.options.rate is None else 0.0  # nothing else depends on it
    train_network(network, replace(run, options=run.options.near(lost)))
    return Compressed(network, run.start.original)


@torch.no_grad()
def _lost(run: TrainingRun) -> float:
    """What compression did to the outputs for the first batches."""
    pairs = [
        (run.start.network(*args, **kwargs), run.start.original(*args, **kwargs))
        for args, kwargs in run.feed.inputs(_SEEN)
    ]
    return noise_to_signal(*map(list, zip(*pairs, strict=True)))


def _train_quantized(start: Quantized, run: TrainingRun) -> Quantized:
    model = trainable(
        start,
        run.batches,
        options=run.options.quantizers,
        batchnorm=run.options.batchnorm or "kept",
        labelled=run.loss is not None,
        seed=run.options.seed,
    )
    lines = run.of(model.network)
    found = model.quantized()
    found.network.records.append(_record(lines, "weights and quantizers trained together"))
    return replace(found, training=(*start.training, *lines))


def trainable(
    quantized: Quantized,
    batches: Batches | None = None,
    *,
    options: LSQ | None = None,
    batchnorm: Literal["folded", "kept"] = "kept",
    labelled: bool = False,
    seed: int = 0,
) -> "Trainable":
    """The network as an ordinary module, for a training loop of one's own.

    Args:
        quantized: What `quantize` returned; it is not changed.
        batches: The first of them show the ranges of activations, where quantizers start. Default:
            they start where `quantized` has them.
        options: How quantizers are trained.
        batchnorm: See `Training`. Kept ones take part in `train()` and `eval()` of the module.
        labelled: Whether batches are pairs `(inputs, targets)`.
        seed: Of the order of the batches.
    """
    options = options or LSQ()
    network = quantized.network.copy()
    seen = []
    if batches is None:
        options = replace(options, activations="keep")
    elif options.activations != "keep":
        seen = list(Feed(network, batches, labelled, seed).inputs(options.samples))
    learn(network, seen, options, quantized.scheme.pair_safe)
    for parameter in network.module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if batchnorm == "kept":
        keep_batchnorm(network)
    return Trainable(network, quantized)


class Trainable(nn.Module):
    """A network whose quantizers are trained; `quantized()` takes it back.

    Call it like the model. Its parameters are those of the model, and of its quantizers.

    Attributes:
        module: The network.
    """

    def __init__(self, network: Network, start: Quantized) -> None:
        super().__init__()
        self.module = network.module
        self.network = network
        self._start = start

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Simulate the quantized network, with the signature of the original."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> "Trainable":
        """Kept BatchNorms take the statistics of each batch, or the running ones."""
        super().train(mode)
        normalize_by_batch(self.network, mode)
        return self

    def quantized(self) -> Quantized:
        """What has been trained so far, ready for export; the module can be trained on."""
        network = self.network.copy()
        settle_batchnorm(network)
        guard_bias_overflow(network)
        return replace(self._start, network=network)


def _distillation(original: Network, options: Training) -> Distillation:
    """The float network as teacher, BatchNorms folded."""
    teacher = original.copy()
    fold(teacher)
    return Distillation(teacher.module.requires_grad_(False), options.temperature, options.distil)


def _record(lines: list[Line], what: str, **numbers: float) -> Applied:
    if lines:
        numbers |= {"steps": float(lines[-1].step)}
        numbers |= {"loss before": lines[0].loss, "loss after": lines[-1].loss}
    return Applied("network", "train", what, numbers)
