"""Fewer multiplications: factorization and pruning under one budget.

arXiv 1912.09802: every part of the network, a layer or a group of channels, is compressed by
several ratios, one part at a time, to find the damage to the outputs. Then each part gets the
ratio that the budget allows. Without data this is level 1 of the paper, with a few unlabelled
samples level 2; training what remains is level 3.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tersor.api.loading import opened
from tersor.checked import checked
from tersor.compression.asked import Asked
from tersor.compression.options import Compression
from tersor.compression.room_needed import samples_within
from tersor.compression.sweep import OnPart
from tersor.compression.train_gates import train_gates
from tersor.compression.trial import STEPS as TRIAL_STEPS
from tersor.compression.trial import Trial, try_parts
from tersor.data.given.feeds import Data
from tersor.data.given.shown import captured_with
from tersor.data.outputs.outputs import Metric
from tersor.data.runs.room import Memory, check_memory, told_if_full
from tersor.data.suitability.suitability import samples_told
from tersor.errors import InvalidInputError
from tersor.frontend.capture import Example, Keywords, Model, captured
from tersor.frontend.dynamic import Dynamic
from tersor.graph.costs import costs, total
from tersor.graph.layers import layers
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
@told_if_full("Compression(samples=…)")
def compress(
    model: Model | Compressed | str | Path,
    example: Example = None,
    *,
    kwargs: Keywords | None = None,
    dynamic: Dynamic | None = None,
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
    memory: Memory | None = None,
    on_step: Callable[[str], None] | None = None,
    on_part: OnPart | None = None,
    on_batch: OnBatch | None = None,
) -> Compressed:
    """Make a trained model smaller and faster, with fewer multiplications, in floating point.

    Give one budget. `tersor.quantize` quantizes the result, and `verify` then tells what each of
    the two steps costs.

    Args:
        model: As for `quantize`, or a `Compressed` model, or its file, to compress further. It is
            never changed.
        example: As for `quantize`.
        kwargs: As for `quantize`.
        dynamic: As for `quantize`.
        macs: Multiply-accumulates that may remain: a share of those of the model, or a number.
        parameters: Weights and biases that may remain: a share, or a number.
        megabytes: Size of the remaining weights in 10⁶ bytes, 4 bytes per weight.
        latency: Share of the processor time that the model takes in onnxruntime on this machine,
            with one thread.
        data: Unlabelled samples, as for `quantize`. Default: the first training batches, if there
            are any. Without data, parts are judged by their weights alone.
        exclude: Names of layers and sub-modules that stay as they are; `*` and `?` are wildcards.
            Channels that such a layer computes or reads stay, too.
        metric: Damage to the outputs of a batch, `metric(outputs, reference)`; higher is worse.
            Default: noise over signal. Gates minimize `loss`, so they alone take no metric.
        train: Batches for training the compressed model: level 3, as in `tersor.train`.
        loss: Loss of the training. Default: the distance to the outputs of the original model.
        training: Options of the training.
        options: See `Compression`.
        jobs: Number of processes that try parts where there is a `metric`, or no gradient passes
            through the model; −1 uses all cores. A backend of joblib spreads them over several
            machines. Otherwise one pass estimates the damage of all parts.
        folder: Saves the parts that have been tried, and the training, so that an interrupted run
            resumes from there.
        memory: What the process may hold while it compresses with data, such as `"2GB"`, or bytes.
            Values that find no room go to files, in `folder` or else the system's folder for
            temporary files; the result is the same to the bit. Each process of `jobs` may hold as
            much; a training holds what its batches need. Default: half of what is free.
        on_step: Called with the name of each step before it runs. Default: a progress bar.
        on_part: Called after each part that is tried, and each layer that is fitted, with its
            number, the total number, and its record.
        on_batch: Called after each batch of the training; see `tersor.train`.

    Returns:
        The compressed model. Its `records` list what was done to each layer, and what was refused.

    Raises:
        TersorError: The model, the data, the budget or an option cannot be used. The message says
            what to do.
    """
    say, options = on_step or (lambda _: None), options or Compression()
    _check_together(options, train, macs, metric)
    _check_used(train, loss, training, data, metric, options)
    check_memory(memory, data if train is None else train)
    say(STEPS[0])
    start, data = prepared(model, example, kwargs, data, dynamic)
    training = training or Training()
    if data is None and train is not None:
        data = first_epoch(train, training.seed)
    batches, shelf = samples_within(start.network, data, options, memory, folder)
    start.network.records += samples_told(start.original, batches)
    asked = _asked(start.network, macs, parameters, megabytes, latency)
    if latency is not None and options.multiple is None:
        options = replace(options, multiple=_BLOCK)
    found = start.network
    if options.others:
        trial = try_parts(
            start.network,
            batches,
            options,
            exclude=exclude,
            metric=metric,
            jobs=jobs,
            folder=folder,
            shelf=shelf,
            say=say,
            on_part=on_part,
        )
        part = asked.before_gates(options.gating.others) if options.gates else asked
        found = _within(trial, part, latency)
    if train is None:
        return _with(start, found)
    say(STEPS[-1])
    with training_bar(on_batch) as bar, asked.told():
        run = TrainingRun(found, start.original, train, loss, training, folder, bar)
        if options.gates is None:
            return _with(start, *train_compressed(run))
        gated = train_gates(asked.most, run, options.gates, options, batches, exclude)
        return _with(start, *gated)


def _within(trial: Trial, asked: Asked, latency: float | None) -> Network:
    """The network that meets the budget."""
    if latency is not None:
        return trial.within_latency(latency)
    with asked.told():
        return trial.within(asked.most, asked.unit)


def _with(start: Compressed, network: Network, lines: Sequence[Line] = ()) -> Compressed:
    return replace(start, network=network, training=(*start.training, *lines))


def prepared(
    model: Model | Compressed | str | Path,
    example: Example,
    kwargs: Keywords | None,
    data: Data,
    dynamic: Dynamic | None = None,
) -> tuple[Compressed, Data]:
    """Prepare the model to compress, with BatchNorms folded, and keep the original beside it.

    Args:
        model: See `tersor.compress`.
        example: See `tersor.compress`.
        kwargs: See `tersor.compress`.
        data: See `tersor.compress`.
        dynamic: See `tersor.compress`.

    Returns:
        The model, and the data, from which nothing is missing.

    Raises:
        InvalidInputError: It has no layers.
    """
    model, example = opened(model, example)
    if isinstance(model, Compressed):
        start = replace(model, network=captured(model.network, example, kwargs, dynamic))
    else:
        network, data = captured_with(model, example, kwargs, data, dynamic)
        start = Compressed(network, network.copy())
    simplify(start.network)
    if not [*layers(start.network)]:
        raise InvalidInputError(
            "there is nothing to compress: the model has no convolution and no linear layer"
        )
    return start, data


def _check_together(
    options: Compression, train: Batches | None, macs: float | None, metric: Metric | None
) -> None:
    """Check that the arguments fit the method."""
    if options.gates is None:
        return
    if train is None:
        raise InvalidInputError(
            f"{options.gates!r} chooses channels while it trains; give its batches with train="
        )
    if macs is None:
        raise InvalidInputError(f"{options.gates!r} needs a budget of multiplications; give macs=")
    if metric is not None and not options.others:
        raise InvalidInputError(
            f"metric= has no effect with {options.gates!r} alone, which minimizes the training "
            "loss; give loss= instead"
        )


def _check_used(
    train: Batches | None,
    loss: Loss | None,
    training: Training | None,
    data: Data,
    metric: Metric | None,
    options: Compression,
) -> None:
    """Check that every argument has an effect."""
    for name, value in (("loss", loss), ("training", training)):
        if value is not None and train is None:
            raise InvalidInputError(
                f"{name}= has no effect without a training; give its batches with train="
            )
    if metric is not None and data is None and train is None:
        raise InvalidInputError("metric= has no effect without samples; give them with data=")
    if training is not None:
        is_labelled, is_gated = loss is not None, options.gates is not None
        training.check_used(labelled=is_labelled, quantized=False, gated=is_gated)


def _asked(
    network: Network,
    macs: float | None,
    parameters: float | None,
    megabytes: float | None,
    latency: float | None,
) -> Asked:
    """The budget that was asked for; for a latency, the MACs of the model."""
    given = {"macs": macs, "parameters": parameters, "megabytes": megabytes, "latency": latency}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise InvalidInputError(f"give exactly one budget, {', '.join(given)}, such as macs=0.5")
    ((name, value),) = named.items()
    if not isinstance(value, int | float) or not value > 0:
        raise InvalidInputError(
            f"{name}={value!r} is not possible; give a budget above 0, such as {name}=0.5"
        )
    whole = total(costs(network).values())
    if name == "latency":
        if value >= 1:
            raise InvalidInputError(
                f"latency={value} is a share of the present latency; give less than 1"
            )
        return Asked("macs", 1.0, whole)
    if name != "megabytes" and 1 < value <= _PERCENT:
        raise InvalidInputError(
            f"{name}={value} is above 1, so it counts {name}, and that is far too few. Give a "
            f"share below 1, such as {name}=0.5"
        )
    return Asked(name, value, whole)
