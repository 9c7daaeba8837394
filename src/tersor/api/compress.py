"""Fewer multiplications: factorization and pruning under one budget.

arXiv 1912.09802: every part of the network, a layer or a group of channels, is compressed a little
and a lot, one at a time, to see what that does to the outputs; then each gets as much of it as the
budget asks for. Without data this is its level 1, with a few unlabelled samples level 2, and what
is left is trained at level 3.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tersor.checked import checked
from tersor.compression.asked import Asked
from tersor.compression.options import Compression
from tersor.compression.sweep import OnPart
from tersor.compression.train_gates import train_gates
from tersor.compression.trial import STEPS as TRIAL_STEPS
from tersor.compression.trial import try_parts
from tersor.data.feeds import Data
from tersor.data.outputs import Metric
from tersor.data.samples import samples
from tersor.errors import InvalidInputError
from tersor.frontend.capture import Example, Keywords, Model, captured
from tersor.graph.costs import costs, total
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
_BLOCK = 8  # channels that kernels compute at a time, on AVX2; with AVX-512 16
_PERCENT = 100  # more may be meant as a number


@checked("model", "exclude", "macs", "parameters", "megabytes", "latency")
@shows_progress(len(STEPS))
def compress(
    model: Model | Compressed,
    example: Example = None,
    *,
    kwargs: Keywords | None = None,
    macs: float | None = None,
    parameters: float | None = None,
    megabytes: float | None = None,
    latency: float | None = None,
    data: Data = None,
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
    _check_together(options, train, macs, metric)
    _check_used(train, loss, training, data, metric)
    say(STEPS[0])
    start = prepared(model, example, kwargs)
    training = training or Training()
    if data is None and train is not None:
        data = first_epoch(train, training.seed)
    batches = [] if data is None else samples(start.network, data, options.samples)
    asked = _asked(start.network, macs, parameters, megabytes, latency)
    if train is not None and options.gates is not None:
        say(STEPS[-1])
        with training_bar(on_batch) as bar, asked.told():
            given = start.network, start.original, train, loss, training, folder, bar
            run = TrainingRun(*given)
            gated = train_gates(asked.most, run, options.gates, options, batches, exclude)
        return _with(start, *gated)
    if latency is not None and options.multiple is None:
        options = replace(options, multiple=_BLOCK)
    trial = try_parts(
        start.network,
        batches,
        options,
        exclude=exclude,
        metric=metric,
        jobs=jobs,
        folder=folder,
        say=say,
        on_part=on_part,
    )
    if latency is not None:
        found = trial.within_latency(latency)
    else:
        with asked.told():
            found = trial.within(asked.most, asked.unit)
    if train is None:
        return _with(start, found)
    say(STEPS[-1])
    with training_bar(on_batch) as bar:
        run = TrainingRun(found, start.original, train, loss, training, folder, bar)
        return _with(start, *train_compressed(run))


def _with(start: Compressed, network: Network, lines: Sequence[Line] = ()) -> Compressed:
    return replace(start, network=network, training=(*start.training, *lines))


def prepared(
    model: Model | Compressed,
    example: Example,
    kwargs: Keywords | None,
) -> Compressed:
    """What is to be compressed, BatchNorms folded, and the model that the result is compared with.

    Args:
        model: See `tersor.compress`.
        example: Idem.
        kwargs: Idem.
    """
    if isinstance(model, Compressed):
        start = replace(model, network=captured(model.network, example, kwargs))
    else:
        network = captured(model, example, kwargs)
        start = Compressed(network, network.copy())
    simplify(start.network)
    return start


def _check_together(
    options: Compression, train: Batches | None, macs: float | None, metric: Metric | None
) -> None:
    """Do the arguments go together?"""
    if options.gates is None:
        return
    if train is None:
        raise InvalidInputError(f"{options.gates!r} chooses channels by training; give train=")
    if macs is None:
        raise InvalidInputError(f"{options.gates!r} goes by multiplications; give macs=")
    if metric is not None:
        raise InvalidInputError(
            f"metric= is not for {options.gates!r}, which goes by the loss of the training; leave "
            "it out, and give loss= instead"
        )


def _check_used(
    train: Batches | None,
    loss: Loss | None,
    training: Training | None,
    data: Data,
    metric: Metric | None,
) -> None:
    """Does every argument do something?"""
    for name, value in (("loss", loss), ("training", training)):
        if value is not None and train is None:
            raise InvalidInputError(f"{name}= is for a training; give its batches with train=")
    if metric is not None and data is None and train is None:
        raise InvalidInputError("metric= compares outputs on samples; give them with data=")
    if training is not None:
        training.check_used(labelled=loss is not None, quantized=False)


def _asked(
    network: Network,
    macs: float | None,
    parameters: float | None,
    megabytes: float | None,
    latency: float | None,
) -> Asked:
    """The budget; for a latency, the MACs that there are."""
    given = {"macs": macs, "parameters": parameters, "megabytes": megabytes, "latency": latency}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise InvalidInputError(f"give one budget of {', '.join(given)}, such as macs=0.5")
    ((name, value),) = named.items()
    if not isinstance(value, int | float) or not value > 0:
        raise InvalidInputError(f"{name}={value!r}; give a budget above 0, such as {name}=0.5")
    whole = total(costs(network).values())
    if name == "latency":
        if value >= 1:
            raise InvalidInputError(f"latency={value} is a share of the time now; give less than 1")
        return Asked("macs", 1.0, whole)
    if name != "megabytes" and 1 < value <= _PERCENT:
        raise InvalidInputError(
            f"{name}={value} is more than 1, so it is a number of them, and far too small; give a "
            f"share, such as {name}=0.5"
        )
    return Asked(name, value, whole)
