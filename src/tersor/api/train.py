"""Level 3: train a quantized or a compressed network, with `train` or in your own loop.

LSQ+, arXiv 2004.09576: the steps and offsets of the quantizers are trained together with the
weights (`tersor.quant.lsq`). `train` runs the loop of `tersor.training.loop`. For any other loop,
`trainable` returns the network as a module, and `Trainable.quantized` returns the trained result.
"""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from torch import nn

from tersor.checked import checked
from tersor.data.outputs.outputs import Outputs
from tersor.data.suitability.suitability import ENOUGH, samples_told
from tersor.errors import InvalidInputError
from tersor.frontend.capture import Example
from tersor.graph.network import Network
from tersor.names import BatchNormMode
from tersor.quant.lsq import LSQ, learn
from tersor.quant.ranges.overflow import guard_bias_overflow
from tersor.quant.rounding.nearest_start import nearest_start
from tersor.report.progress import training_bar
from tersor.results.compressed import Compressed
from tersor.results.quantized import Quantized
from tersor.training.feed import Batches, Feed
from tersor.training.kept_batchnorm import (
    keep_batchnorm,
    normalize_by_batch,
    settle_batchnorm,
)
from tersor.training.log import OnBatch
from tersor.training.objective import Loss
from tersor.training.options import Training
from tersor.training.run import TrainingRun, record, train_compressed

_TOGETHER = "weights and quantizers trained together"

T = TypeVar("T", Quantized, Compressed)


@checked("start")
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

    In a quantized network, quantizers and weights are trained together; this is meant for 4 bits
    and fewer. Weights of few bits start from the nearest integers, whatever rounded them before:
    see `LSQ`. In a compressed network, the weights are trained with a small learning rate to
    recover the accuracy that compression lost.

    Args:
        start: The result of `quantize` or `compress`. It is not changed.
        batches: The batches of each epoch: a `DataLoader`, a list, or a function that returns an
            iterable. Without a loss, a batch is as for `quantize(data=…)`. With a loss, it is a
            pair `(inputs, targets)`.
        loss: `loss(outputs, targets)`, which returns a scalar. Default: the distance to the outputs
            of the float network, which needs no labels.
        options: See `Training`.
        folder: Where checkpoints and the log are saved. An interrupted run resumes from there, with
            the same result as an uninterrupted one.
        on_batch: Called after each batch with the number of finished batches, the total number, and
            the last logged loss. Default: a progress bar, in a terminal.

    Returns:
        The trained network.

    Raises:
        TersorError: A batch, an option or a checkpoint cannot be used. The message says what to do.
    """
    if not isinstance(start, Quantized | Compressed):
        raise InvalidInputError(
            f"a {type(start).__name__} cannot be trained here; give the result of "
            "`tersor.quantize` or `tersor.compress`"
        )
    options = options or Training()
    scheme = start.scheme if isinstance(start, Quantized) else None
    options.check_used(labelled=loss is not None, quantized=scheme is not None)
    with training_bar(on_batch) as bar:
        given = start.network, start.original, batches, loss, options, folder, bar, scheme
        run = TrainingRun(*given)
        told = samples_told(start.original, list(run.feed.inputs(ENOUGH)))
        trained = (
            _train_quantized(start, run) if isinstance(start, Quantized) else _train(start, run)
        )
    trained.network.records += [record for record in told if record not in start.records]
    return trained


def _train(start: Compressed, run: TrainingRun) -> Compressed:
    network, lines = train_compressed(run)
    return replace(start, network=network, training=(*start.training, *lines))


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
    found = model.settled()
    found.network.records.append(record(lines, _TOGETHER))
    return replace(found, training=(*start.training, *lines))


@checked()
def trainable(
    quantized: Quantized,
    batches: Batches | None = None,
    *,
    options: LSQ | None = None,
    batchnorm: BatchNormMode = "kept",
    labelled: bool = False,
    seed: int = 0,
) -> "Trainable":
    """Return the network as an ordinary module, for your own training loop.

    Args:
        quantized: The result of `quantize`. It is not changed.
        batches: The first of them are used to measure the activation ranges with which the
            quantizers start. Default: the quantizers start with the ranges of `quantized`.
        options: How quantizers are trained.
        batchnorm: See `Training`. BatchNorms that are kept follow `train()` and `eval()` of the
            module.
        labelled: Whether batches are pairs `(inputs, targets)`.
        seed: Seed of the order of the batches.
    """
    if batches is None and labelled:
        raise InvalidInputError("labelled= describes batches; give batches=, or leave it out")
    options = options or LSQ()
    seen = []
    if batches is None:
        options = replace(options, activations="keep")
    elif options.activations != "keep":
        seen = list(Feed(quantized.network, batches, labelled, seed).inputs(options.samples))
    network = quantized.network.copy()
    pairs = quantized.scheme.pair_safe
    if options.start == "nearest":
        network = nearest_start(network, quantized.prepared, seen, pairs)
    network.module.train()
    learn(network, seen, options, pairs)
    for parameter in network.module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    if batchnorm == "kept":
        keep_batchnorm(network)
    return Trainable(network, quantized)


class Trainable(nn.Module):
    """A network whose quantizers are trainable; `quantized()` returns the trained result.

    Call it like the model. Its parameters are those of the model and of its quantizers.

    Attributes:
        module: The network as a PyTorch module.
    """

    def __init__(self, network: Network, start: Quantized) -> None:
        super().__init__()
        self.module = network.module
        self.network = network
        self._start = (start,)  # in a tuple, so that it is no sub-module of this one

    def forward(self, *args: Example, **kwargs: Example) -> Outputs:
        """Simulate the quantized network, with the signature of the original."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> "Trainable":
        """Set whether kept BatchNorms use the statistics of each batch or the running ones."""
        super().train(mode)
        normalize_by_batch(self.network, mode)
        return self

    def quantized(self) -> Quantized:
        """Return the network as trained so far, ready for export; training may continue."""
        found = self.settled()
        found.network.records.append(record([], _TOGETHER))
        return found

    def settled(self) -> Quantized:
        """The same as `quantized`, without a record of the training."""
        network = self.network.copy()
        settle_batchnorm(network)
        guard_bias_overflow(network)
        (start,) = self._start
        return replace(start, network=network)
