"""The training loop, on Hugging Face Accelerate: one CPU, one GPU, or many of them.

    accelerate launch script.py          torchrun --nproc-per-node 8 script.py

run the same script with DDP or FSDP. Every process then works on its share of each batch.
"""

import time
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, GradientAccumulationPlugin
from jaxtyping import Float
from torch import Tensor, nn

from tersor.errors import InvalidInputError, UnsupportedError
from tersor.graph.network import Network
from tersor.quant.lsq import learned_quantizers
from tersor.training.average import Average
from tersor.training.checkpoint import Checkpoint, like, whole
from tersor.training.damping import Freezer, WatchedWeight, damping_loss, watched_weights
from tersor.training.feed import FedBatch, Feed, to_device
from tersor.training.kept_batchnorm import reestimate
from tersor.training.layout import channels_last
from tersor.training.log import Line, Log, OnBatch
from tersor.training.objective import Distillation, Loss
from tersor.training.optimizer import parameter_groups, rate_at, set_rates
from tersor.training.options import Training
from tersor.training.precision import own_precision
from tersor.training.seeds import own_randomness, step_randomness

_RECENT = "recent losses"
_REESTIMATED = 50  # batches, as in arXiv 2203.11086


@runtime_checkable
class Penalty(Protocol):
    """A term that is added to the loss of each batch."""

    def __call__(self, network: Network, progress: float) -> Float[Tensor, ""]:
        """Compute the penalty of a network in training.

        Args:
            network: The network, or a copy of it.
            progress: Progress of the training, from 0 to 1.
        """
        ...

    def parameters(self, module: nn.Module) -> list[nn.Parameter]:
        """The penalty's own parameters among those of a network; see `parameter_groups`."""
        ...


def run_training(
    network: Network,
    feed: Feed,
    loss: Loss | Distillation,
    options: Training,
    checkpoint: Checkpoint | None = None,
    on_batch: OnBatch | None = None,
    penalty: Penalty | None = None,
) -> list[Line]:
    """Train a network, with its quantizers or gates if it has some.

    Args:
        network: The network; its parameters are set at the end.
        feed: The batches.
        loss: Called with the outputs and the targets, or a `Distillation`.
        options: See `Training`.
        checkpoint: Saves the run; an existing checkpoint is resumed.
        on_batch: Called after each batch.
        penalty: Called for each batch with the network and the progress of the training, from 0 to
            1; its result is added to the loss.

    Returns:
        The log.

    Raises:
        InvalidInputError: A batch does not fit, or the loss is not finite.
    """
    with own_randomness(), own_precision(options.precision), torch.enable_grad():
        run = Run(network, feed, loss, options, checkpoint, penalty)
        run.go(on_batch or (lambda *_: None))
        network.module.load_state_dict(run.result())
        if options.keeps_batchnorm:
            _reestimate(network, feed, run.accelerator.device)
        return run.log.lines


class Run:
    """One run, and everything that it needs.

    Attributes:
        step: Number of finished batches.
        total: Number of all batches.
    """

    def __init__(
        self,
        network: Network,
        feed: Feed,
        loss: Loss | Distillation,
        options: Training,
        checkpoint: Checkpoint | None,
        penalty: Penalty | None = None,
    ) -> None:
        self.network, self.feed, self.loss = network.copy(), feed, loss
        self.penalty = penalty
        self.options, self.checkpoint = options, checkpoint
        total = feed.total(options.epochs, options.steps)
        self.total = max(total // options.accumulate, 1) * options.accumulate
        self.accelerator = _accelerator(options)
        self._lay_out()
        module = self.network.module
        unit = [] if penalty is None else penalty.parameters(module)
        groups = parameter_groups(module, options, unit)
        optimizer = torch.optim.AdamW(groups, lr=options.highest_rate)
        self.model, self.optimizer = self.accelerator.prepare(module, optimizer)
        if isinstance(loss, nn.Module):
            loss.to(self.accelerator.device)
        self.average = Average(self.module, options.ema) if options.ema else None
        self.watched = self._watched()
        self.freezer = Freezer(self.watched) if options.freezing else None
        self.recent: list[Tensor] = []  # losses since the last line of the log
        self.step = self._resume()
        folder = checkpoint.folder if checkpoint and self.accelerator.is_main_process else None
        self.log = Log(folder, options.tensorboard, self.step)

    def _lay_out(self) -> None:
        """Use channels-last where it pays off: not with quantizers, and not with FSDP."""
        if isinstance(self.loss, Distillation):
            channels_last(self.loss.teacher)
        divided = self.accelerator.distributed_type is DistributedType.FSDP
        if not divided and not learned_quantizers(self.network.module):
            channels_last(self.network.module)

    def _watched(self) -> list[WatchedWeight]:
        """The weights that are watched for damping."""
        if not (self.options.damping or self.options.freezing):
            return []
        if self.accelerator.distributed_type is DistributedType.FSDP:
            raise UnsupportedError(
                "damping and freezing need whole weights, which FSDP divides among processes; "
                "train with DDP, or without them"
            )
        return watched_weights(self.network)

    @property
    def module(self) -> nn.Module:
        """The network itself, without its wrapper for distribution."""
        return self.accelerator.unwrap_model(self.model)

    def go(self, on_batch: OnBatch) -> None:
        """Take all remaining steps."""
        begun, shown = time.perf_counter(), float("nan")
        part = self.accelerator.process_index, self.accelerator.num_processes
        examples = self.feed.stream(self.step, part, self.options.mixup)
        for example in islice(examples, self.total - self.step):
            self.recent.append(self._take(example))
            self.step += 1
            if self.step % self.options.log_every == 0 or self.step == self.total:
                shown = self._note(time.perf_counter() - begun)
            on_batch(self.step, self.total, shown)
            if self._is_due():
                self._save()
        self.log.close()
        if self.average is not None:
            self.average.store(self.module)

    def result(self) -> dict[str, Tensor]:
        """The whole state of the network, in every process."""
        return {name: whole(x).detach() for name, x in self.module.state_dict().items()}

    def _take(self, example: FedBatch) -> Tensor:
        """Process one batch: forward, backward, and a step of the optimizer if one is due."""
        options, accelerator = self.options, self.accelerator
        update, updates = (n // options.accumulate for n in (self.step, self.total))
        progress = update / updates
        set_rates(self.optimizer, rate_at((update + 0.5) / updates, options.warm_up))
        (args, kwargs), targets = to_device((example.inputs, example.targets), accelerator.device)
        with step_randomness(options.seed, self.step), accelerator.accumulate(self.model):
            if isinstance(self.loss, Distillation):
                with accelerator.autocast():
                    targets = self.loss.targets(args, kwargs)
            loss = self.loss(self.model(*args, **kwargs), targets) * example.share
            added = 0.0 if self.penalty is None else self.penalty(self.network, progress)
            if options.damping is not None:
                added = added + damping_loss(self.watched, options.damping.at(progress))
            accelerator.backward(loss + added)
            if accelerator.sync_gradients:
                self._update(progress)
        return loss.detach()

    def _update(self, progress: float) -> None:
        """Take a step of the optimizer, and do what follows it."""
        if self.options.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.freezer is not None and self.options.freezing is not None:
            self.freezer.step(self.options.freezing, progress)
        if self.average is not None:
            self.average.update(self.module, self.step // self.options.accumulate)

    def _note(self, seconds: float) -> float:
        """Add a line to the log."""
        mean: Any = self.accelerator.reduce(torch.stack(self.recent).mean(), "mean")
        loss, self.recent = float(mean), []
        if not loss < float("inf"):
            raise InvalidInputError(
                f"the loss is {loss} after {self.step} batches; lower Training(rate=…), or look "
                "for NaN in the batches and in the loss"
            )
        frozen = self.freezer.share if self.freezer else 0.0
        rate = self.optimizer.param_groups[0]["lr"]
        self.log.add(Line(self.step, loss, rate, frozen, seconds))
        return loss

    def _is_due(self) -> bool:
        """Whether a checkpoint is due; never between two batches of one step."""
        if self.checkpoint is None:
            return False
        every = self.options.checkpoint_every * self.options.accumulate
        return self.step % every == 0 or self.step == self.total

    def _save(self) -> None:
        assert self.checkpoint is not None
        tensors = {name: whole(tensor) for name, tensor in self._state().items()}
        if self.recent:
            losses: Any = self.accelerator.reduce(torch.stack(self.recent), "mean")
            tensors[_RECENT] = losses
        if self.accelerator.is_main_process:
            self.checkpoint.write(self.step, tensors)
        self.accelerator.wait_for_everyone()

    def _state(self) -> dict[str, Tensor]:
        """Collect every tensor that the run depends on, by name."""
        found = {f"network.{k}": x for k, x in self.module.state_dict(keep_vars=True).items()}
        names = {id(p): name for name, p in self.module.named_parameters()}
        for parameter, values in self.optimizer.state.items():
            for key, value in values.items():
                found[f"adam.{names[id(parameter)]}.{key}"] = value
        parts = {"average": self.average, "freezer": self.freezer}
        for prefix, part in parts.items():
            if part is not None:
                found |= {f"{prefix}.{key}": value for key, value in part.state().items()}
        return found

    @torch.no_grad()
    def _resume(self) -> int:
        """Restore a checkpoint, and return its step."""
        found = None if self.checkpoint is None else self.checkpoint.read()
        if found is None:
            return 0
        step, tensors = found
        if _RECENT in tensors:
            self.recent = list(tensors[_RECENT].to(self.accelerator.device))
        _begin(self.optimizer)
        for name, tensor in self._state().items():
            tensor.copy_(like(tensors[name], tensor))
        return step


def _reestimate(network: Network, feed: Feed, device: torch.device) -> None:
    """Compute the statistics of kept BatchNorms on the device of the training."""
    home = next(network.module.parameters()).device
    network.module.to(device)
    batches = feed.inputs(batches=_REESTIMATED)
    reestimate(network, (to_device(batch, device) for batch in batches))
    network.module.to(home)


def _begin(optimizer: torch.optim.Optimizer) -> None:
    """The state of AdamW before its first step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


def _accelerator(options: Training) -> Accelerator:
    return Accelerator(
        mixed_precision=options.precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=options.accumulate, sync_with_dataloader=False
        ),
        step_scheduler_with_optimizer=False,
    )
