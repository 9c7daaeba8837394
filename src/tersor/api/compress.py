"""Fewer multiplications: factorization and pruning under one budget.

arXiv 1912.09802: every part of the network, a layer or a group of channels, is compressed a little
and a lot, one at a time, to see what that does to the outputs; then each gets as much of it as the
budget asks for. Without data this is its level 1, with a few unlabelled samples level 2, and what
is left is trained at level 3.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from tersor.compression.meter import Unit
from tersor.compression.options import Compression
from tersor.compression.sweep import OnPart
from tersor.compression.train_gates import train_gates
from tersor.compression.trial import STEPS as TRIAL_STEPS
from tersor.compression.trial import try_parts
from tersor.data.outputs import Metric
from tersor.data.samples import optional_samples
from tersor.errors import InvalidInputError
from tersor.frontend.capture import capture
from tersor.graph.costs import Cost, costs, total
from tersor.graph.network import Network
from tersor.graph.simplify import simplify
from tersor.report.progress import shows_progress, training_bar
from tersor.results.compressed import Compressed
from tersor.training.feed import Batches, first_epoch
from tersor.training.log import Line, OnBatch
from tersor.training.objective import Loss
from tersor.training.options import Training
from tersor.training.run import TrainingRun, train_compressed

STEPS = ("capture the model", *TRIAL_STEPS, "train")
_MEGABYTE = 250_000  # numbers of 4 bytes
_BLOCK = 8  # channels that kernels compute at a time, on AVX2; with AVX-512 16
_PERCENT = 100  # more may be meant as a number


@shows_progress(len(STEPS))
def compress(
    model: nn.Module | ExportedProgram | Network | Compressed,
    example: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    macs: float | None = None,
    parameters: float | None = None,
    megabytes: float | None = None,
    latency: float | None = None,
    data: Any = None,
    exclude: Iterable[str] = (),
    metric: Metric | None = None,
    train: Batches | None = None,
    loss: Loss | None = None,
    training: Training | None = None,
    options: Compression | None = None,
    jobs: int = 1,
    folder: str | Path | None = None,
    on_step: Callable[[str], None] | None = None,
    on_part: OnPart | None = None,
    on_batch: OnBatch | None = None,
) -> Compressed:
    """Make a trained model smaller and faster: fewer multiplications, in floating point.

    Give one budget. `tersor.quantize` then takes the `network` of the result.

    Args:
        model: As for `quantize`; or what was compressed already, to go on. It is never changed.
        example: As for `quantize`.
        kwargs: As for `quantize`.
        macs: Multiply-accumulates that may be left: a share of those there are, or a number.
        parameters: Stored numbers, idem.
        megabytes: 10⁶ bytes of weights, 4 for each.
        latency: Share of the time that the model takes in onnxruntime on this machine.
        data: Unlabelled samples, as for `quantize`. Default: the first of the training, if there is
            one; without any, weights alone are looked at.
        exclude: Names of layers and sub-modules that stay; `*` and `?` are wildcards.
        metric: Damage to what the model returns for a batch, `metric(outputs, reference)`, higher
            is worse. Default: noise over signal.
        train: Batches to train on what is left: level 3, as `tersor.train` does it.
        loss: Of the training; default: the distance to the outputs of the model as it was.
        training: Options of the training.
        options: See `Compression`.
        jobs: Processes that try parts; −1 for as many as there are cores. A backend of joblib
            spreads them over machines.
        folder: Keeps the parts that have been tried, and the training, so that a run that was
            stopped goes on.
        on_step: Called with the name of each step before it runs. Default: a progress bar.
        on_part: Called after each part that is tried, and each layer that is fitted, with its
            number, how many there are, and its record.
        on_batch: Called after each batch of the training; see `tersor.train`.

    Returns:
        The compressed model; its `records` tell what was done to which layer, and what was refused.

    Raises:
        TersorError: The model, the data, the budget or an option is unfit; the message says what to
            do.
    """
    say, options = on_step or (lambda _: None), options or Compression()
    _check_together(options, train, macs)
    say(STEPS[0])
    start = prepared(model, example, kwargs)
    training = training or Training()
    if data is None and train is not None:
        data = first_epoch(train, training.seed)
    batches = optional_samples(start.network, data, options.samples)
    most, unit = _budget(total(costs(start.network).values()), macs, parameters, megabytes, latency)
    if train is not None and options.gates is not None:
        say(STEPS[-1])
        with training_bar(on_batch) as bar:
            given = start.network, start.original, train, loss, training, folder, bar
            gated = train_gates(most, TrainingRun(*given), options.gates, options, batches)
        return _with(start, *gated)
    if latency is not None and options.multiple is None:
        options = replace(options, multiple=_BLOCK)
    trying: Any = {"exclude": exclude, "metric": metric, "jobs": jobs, "folder": folder}
    trial = try_parts(start.network, batches, options, **trying, say=say, on_part=on_part)
    found = trial.within(most, unit) if latency is None else trial.within_latency(latency)
    if train is None:
        return _with(start, found)
    say(STEPS[-1])
    with training_bar(on_batch) as bar:
        run = TrainingRun(found, start.original, train, loss, training, folder, bar)
        return _with(start, *train_compressed(run))


def _with(start: Compressed, network: Network, lines: Sequence[Line] = ()) -> Compressed:
    return replace(start, network=network, training=(*start.training, *lines))


def prepared(
    model: nn.Module | ExportedProgram | Network | Compressed,
    example: Any,
    kwargs: Mapping[str, Any] | None,
) -> Compressed:
    """What is to be compressed, BatchNorms folded, and the model that the result is compared with.

    Args:
        model: See `tersor.compress`.
        example: Idem.
        kwargs: Idem.
    """
    if isinstance(model, Compressed):
        start = replace(model, network=model.network.copy())
    else:
        network = model.copy() if isinstance(model, Network) else capture(model, example, kwargs)
        start = Compressed(network, network.copy())
    simplify(start.network)
    return start


def _check_together(options: Compression, train: Batches | None, macs: float | None) -> None:
    """Do the arguments go together?"""
    if options.gates is None:
        return
    if train is None:
        raise InvalidInputError(f"{options.gates!r} chooses channels by training; give train=")
    if macs is None:
        raise InvalidInputError(f"{options.gates!r} goes by multiplications; give macs=")


def _budget(
    before: Cost,
    macs: float | None,
    parameters: float | None,
    megabytes: float | None,
    latency: float | None,
) -> tuple[int, Unit]:
    """What may be left, and of what; of a latency, the MACs that there are."""
    given = {"macs": macs, "parameters": parameters, "megabytes": megabytes, "latency": latency}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise InvalidInputError(f"give one budget of {', '.join(given)}, such as macs=0.5")
    ((name, value),) = named.items()
    if not isinstance(value, int | float) or not value > 0:
        raise InvalidInputError(f"{name}={value!r}; give a budget above 0, such as {name}=0.5")
    if name == "latency":
        if value >= 1:
            raise InvalidInputError(f"latency={value} is a share of the time now; give less than 1")
        return before.macs, "macs"
    if name == "megabytes":
        return int(value * _MEGABYTE), "parameters"
    if 1 < value <= _PERCENT:
        raise InvalidInputError(
            f"{name}={value} is more than 1, so it is a number of them, and far too small; give a "
            f"share, such as {name}=0.5"
        )
    unit: Unit = "macs" if name == "macs" else "parameters"
    return int(value * getattr(before, unit) if value <= 1 else value), unit
