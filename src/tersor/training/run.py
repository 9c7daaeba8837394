"""A training run: the network, the data it learns from, and the folder of the run."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from tersor.data.outputs.outputs import noise_to_signal
from tersor.data.runs.fingerprint import fingerprint, hash_tensors
from tersor.data.walk.observe import samples_of
from tersor.errors import InvalidInputError
from tersor.files import held
from tersor.graph.footprint import output_nodes
from tersor.graph.mode import set_training
from tersor.graph.network import Applied, Network
from tersor.graph.simplify import fold
from tersor.quant.rounding.nearest_start import TRAINED
from tersor.quant.scheme import Scheme
from tersor.training.checkpoint import Checkpoint
from tersor.training.feed import Batches, Feed, to_device
from tersor.training.kept_batchnorm import keep_batchnorm, settle_batchnorm
from tersor.training.log import Line, OnBatch
from tersor.training.loop import Penalty, run_training
from tersor.training.objective import Distillation, Loss, are_logits
from tersor.training.options import Training
from tersor.training.seeds import own_randomness

_TOLD = 2  # batches that tell the data of a run
_SEEN = 128  # samples on which the effect of compression is measured


@dataclass(frozen=True)
class TrainingRun:
    """The parts of a training run.

    Attributes:
        network: The network to start from; it is not changed.
        original: The float network, which is the teacher if there is no loss.
        batches: The training batches; see `tersor.train` for these and the following attributes.
        loss: The loss to minimize.
        options: The options of training.
        folder: Folder for checkpoints and the log.
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

    def __post_init__(self) -> None:
        """Refuse a temperature where no logits are compared."""
        options = self.options
        if self.loss or options.distil != "auto" or options.temperature == Training.temperature:
            return
        if not are_logits([node.meta["val"] for node in output_nodes(self.original)]):
            raise InvalidInputError(
                f"Training: temperature={options.temperature:g} has no effect here: it is for "
                "logits, and this network does not return one output [samples, classes]; leave "
                "it out, or give distil='kl' if these are logits of another shape"
            )

    @property
    def feed(self) -> Feed:
        """The batches as arguments of the network."""
        return Feed(self.network, self.batches, self.loss is not None, self.options.seed)

    def of(self, network: Network, penalty: Penalty | None = None, *also: Any) -> list[Line]:
        """Train a network that is prepared for training.

        Args:
            network: The network; its parameters are set at the end.
            penalty: See `tersor.training.loop.fit`.
            also: Further values that the result depends on, for the checkpoint's hash.

        Returns:
            The log.

        Raises:
            InvalidInputError: An option has no effect, or another process trains in the folder.
        """
        options = self.options
        if options.tensorboard and self.folder is None:
            raise InvalidInputError(
                "Training(tensorboard=True) needs a folder for its log; give one"
            )
        if options.name and self.folder is None:
            raise InvalidInputError(
                f"Training: name={options.name!r} has no effect without folder=; leave it out"
            )
        checkpoint = None
        if self.folder is not None:
            checkpoint = Checkpoint.open(self.folder, self._fingerprint(also))
        is_first = checkpoint is not None and PartialState().is_main_process
        with held(checkpoint.folder) if checkpoint and is_first else nullcontext():
            return run_training(
                network, self.feed, self._objective, options, checkpoint, self.on_batch, penalty
            )

    @torch.no_grad()
    def loss_of(self, network: Network, skipped: int, samples: int) -> float:
        """Compute the mean loss of a network on training samples.

        Args:
            network: A network with the inputs and outputs of the one that is trained.
            skipped: Number of samples that come before, in whole batches.
            samples: Number of samples, in whole batches.
        """
        objective, home = self._objective, next(network.module.parameters()).device
        found, seen = list[float](), 0
        with own_randomness():
            for example in self.feed.stream():
                seen += samples_of(example.inputs)
                if seen > skipped:
                    (args, kwargs), targets = to_device((example.inputs, example.targets), home)
                    if isinstance(objective, Distillation):
                        targets = objective.to(home).targets(args, kwargs)
                    found.append(float(objective(network(*args, **kwargs), targets)))
                if seen >= skipped + samples:
                    return sum(found) / len(found)
        raise AssertionError("a stream of batches has no end")

    @property
    def _objective(self) -> Loss | Distillation:
        return self.loss or _distillation(self.original, self.options)

    def _fingerprint(self, also: tuple[Any, ...]) -> dict[str, str]:
        """Everything that the result depends on; of the batches, the first ones."""
        name = self.options.name
        ours = replace(self.options, log_every=1, checkpoint_every=1, tensorboard=False, name="")
        found = fingerprint(self.network, [], (self.scheme, ours, *also), name, loss=self.loss)
        device = torch.device(str(PartialState().device)).type
        return {**found, "data": self._data(), "device": device}

    def _data(self) -> str:
        """A hash of the first batches; if they are others each time, of their shapes.

        Raises:
            InvalidInputError: They are others each time, and the run has no name.
        """
        feed, options = self.feed, self.options
        once, twice = feed.first(_TOLD), feed.first(_TOLD)
        if hash_tensors(once) != hash_tensors(twice):
            if not options.name:
                raise InvalidInputError(
                    "folder= goes on with the same run only, and the batches are others each time, "
                    "whatever the seed; draw them with PyTorch's, NumPy's or Python's global "
                    "generator, or give the run a name that changes with them: "
                    "Training(name='…')"
                )
            once = {name: torch.zeros(tensor.shape) for name, tensor in once.items()}
        return hash_tensors(once, feed.total(options.epochs, options.steps))


def train_network(
    network: Network, run: TrainingRun, penalty: Penalty | None = None, *also: Any
) -> list[Line]:
    """Train all weights of a float network, with BatchNorms where they were folded.

    Args:
        network: Edited in place.
        run: The training run.
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
    """Train a compressed network from where the run starts; return the result and the log."""
    network = run.network.copy()
    lost = _lost(run) if run.options.rate is None else 0.0  # nothing else depends on it
    return network, train_network(network, replace(run, options=run.options.near(lost)))


@torch.no_grad()
def _lost(run: TrainingRun) -> float:
    """The effect of compression on the outputs for the first batches."""
    pairs = [
        (run.network(*args, **kwargs), run.original(*args, **kwargs))
        for args, kwargs in run.feed.inputs(_SEEN)
    ]
    return noise_to_signal(*map(list, zip(*pairs, strict=True)))


def _distillation(original: Network, options: Training) -> Distillation:
    """The float network as teacher, with folded BatchNorms."""
    teacher = original.copy()
    fold(teacher)
    return Distillation(teacher.module.requires_grad_(False), options.temperature, options.distil)


def record(lines: list[Line], what: str, **numbers: float) -> Applied:
    """Record what a training run did, for the report.

    Args:
        lines: Its log.
        what: One plain sentence.
        numbers: Further figures to print.
    """
    if lines:
        numbers |= {"steps": float(lines[-1].step)}
        numbers |= {"loss before": lines[0].loss, "loss after": lines[-1].loss}
    return Applied("network", TRAINED, what, numbers)
