"""Fewer multiplications: factorization and pruning under one budget.

arXiv 1912.09802: every part of the network, a layer or a group of channels, is compressed a little
and a lot, one at a time, to see what that does to the outputs; then each gets as much of it as the
budget asks for. Without data this is its level 1, with a few unlabelled samples level 2, and what
is left is trained at level 3.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from tersor.compress.groups import channel_groups
from tersor.compress.plan import Fit, Unit, carry_out, ways_within
from tersor.compress.scores import batchnorm, gradient_scores, magnitude
from tersor.compress.sweep import OnPart, Sweep, damages
from tersor.compress.ways import Part, Scores, Way, group_parts, layer_parts
from tersor.compressed import Compressed
from tersor.errors import InvalidInputError
from tersor.export.latency import measure_latency
from tersor.export.onnx import export_onnx
from tersor.gated import train_gates
from tersor.graph.capture import capture
from tersor.graph.constants import materialize_weights
from tersor.graph.costs import Cost, costs, total
from tersor.graph.feeds import as_array
from tersor.graph.journal import Journal, fingerprint
from tersor.graph.layers import layers
from tersor.graph.network import Network
from tersor.graph.outputs import Metric
from tersor.graph.propagation import propagate
from tersor.graph.samples import samples
from tersor.graph.stats import Batch
from tersor.levels import Compression
from tersor.passes.fold import fold
from tersor.quant.calibrate import input_ranges
from tersor.quant.patterns import excluded
from tersor.quant.synthetic import example_tensors
from tersor.train.feed import Batches
from tersor.train.objective import Loss
from tersor.train.options import Training
from tersor.training import TrainingRun, train_compressed

STEPS = (
    "capture the model",
    "try every part alone",
    "choose within the budget",
    "compress",
    "train",
)
_MEGABYTE = 250_000  # numbers of 4 bytes
_TRIES = 6  # for a latency
_CLOSE = 0.03  # of a latency


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
        data: Unlabelled samples, as for `quantize`; without, weights alone are looked at.
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
        on_step: Called with the name of each step before it runs.
        on_part: Called after each part that is tried, and each layer that is fitted, with its
            number, how many there are, and its record.

    Returns:
        The compressed model; its `records` tell what was done to which layer, and what was refused.

    Raises:
        TersorError: The model, the data, the budget or an option is unfit; the message says what to
            do.
    """
    say, options = on_step or (lambda _: None), options or Compression()
    _check_together(options, train, macs)
    say(STEPS[0])
    network, original = _captured(model, example, kwargs)
    batches = [] if data is None else samples(network, data, options.samples)
    materialize_weights(network)
    fold(network)
    budget = _budget(total(costs(network).values()), macs, parameters, megabytes, latency)
    run = None
    if train is not None:
        start = Compressed(network, original)
        run = TrainingRun(start, train, loss, training or Training(), folder)
        if options.gates is not None:
            say(STEPS[4])
            return train_gates(network, budget[0], run, options.gates, options.gating)
    say(STEPS[1])
    parts = _parts(network, batches, options, tuple(exclude))
    sweep = Sweep(_first(batches, options.tried), metric, jobs=jobs, on_part=on_part)
    lost = damages(network, parts, _kept(sweep, network, parts, options, folder))
    expected = None if batches else propagate(network, input_ranges(network))
    fit = Fit(batches, expected, options.refit, options.reconstruct, on_part)

    def within(most: int, unit: Unit) -> Compressed:
        say(STEPS[2])
        ways = ways_within(network, parts, lost, most, unit, options.rule)
        say(STEPS[3])
        return _carried_out(network, original, ways, fit)

    found = within(*budget) if latency is None else _within_latency(network, latency, within)
    if run is None:
        return found
    say(STEPS[4])
    return train_compressed(replace(run, start=found))


def _kept(
    sweep: Sweep,
    network: Network,
    parts: list[Part],
    options: Compression,
    folder: str | Path | None,
) -> Sweep:
    """The same sweep, with a journal if there is a folder for it."""
    if folder is None:
        return sweep
    told = options, [part.ways for part in parts]
    return replace(sweep, journal=Journal(folder, fingerprint(network, sweep.batches, told)))


def _check_together(options: Compression, train: Batches | None, macs: float | None) -> None:
    """Do the arguments go together?"""
    if options.gates is None:
        return
    if train is None:
        raise InvalidInputError(f"{options.gates!r} chooses channels by training; give train=")
    if macs is None:
        raise InvalidInputError(f"{options.gates!r} goes by multiplications; give macs=")


def _captured(
    model: nn.Module | ExportedProgram | Network | Compressed,
    example: Any,
    kwargs: Mapping[str, Any] | None,
) -> tuple[Network, Network]:
    """What is to be compressed, and the model that the result is compared with."""
    if isinstance(model, Compressed):
        return model.network.copy(), model.original
    network = model.copy() if isinstance(model, Network) else capture(model, example, kwargs)
    return network, network.copy()


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
    if not value > 0:
        raise InvalidInputError(f"{name}={value}; give a budget above 0, such as {name}=0.5")
    if name == "latency":
        if value >= 1:
            raise InvalidInputError(f"latency={value} is a share of the time now; give less than 1")
        return before.macs, "macs"
    if name == "megabytes":
        return int(value * _MEGABYTE), "parameters"
    unit: Unit = "macs" if name == "macs" else "parameters"
    return int(value * getattr(before, unit) if value <= 1 else value), unit


def _parts(
    network: Network, batches: list[Batch], options: Compression, exclude: tuple[str, ...]
) -> list[Part]:
    """All that could be done, and records of what could not."""
    found: list[Part] = []
    if options.decompositions:
        parts, refused = layer_parts(network, options.decompositions, options.ratios)
        found += parts
        network.records += refused
    if "prune" in options.methods:
        parts, refused = group_parts(network, _scores(network, batches, options), options.ratios)
        found += parts
        network.records += refused
    nodes = excluded(network, exclude)
    stay = {layer.name for layer in layers(network) if layer.node in nodes}
    return [
        part for part in found if stay.isdisjoint(name for left in part.shares for name in left)
    ]


def _scores(network: Network, batches: list[Batch], options: Compression) -> Scores:
    groups = channel_groups(network).found
    kind = options.scores or ("fisher" if batches else "magnitude")
    if kind == "fisher" or kind == "taylor":
        if not batches:
            raise InvalidInputError(f"scores={kind!r} go with data; give data=, or 'magnitude'")
        return gradient_scores(network, groups, _first(batches, options.tried), kind)
    score = magnitude if kind == "magnitude" else batchnorm
    return {group.name: score(network, group) for group in groups}


def _first(batches: list[Batch], count: int) -> list[Batch]:
    """The first batches that hold so many samples."""
    found: list[Batch] = []
    for batch in batches:
        if sum(map(_length, found)) >= count:
            break
        found.append(batch)
    return found


def _length(batch: Batch) -> int:
    return len(next(x for x in (*batch[0], *batch[1].values()) if hasattr(x, "__len__")))


def _carried_out(network: Network, original: Network, ways: Sequence[Way], fit: Fit) -> Compressed:
    compressed = network.copy()
    carry_out(compressed, ways, fit)
    return Compressed(compressed, original)


def _within_latency(
    network: Network, share: float, within: Callable[[int, Unit], Compressed]
) -> Compressed:
    """Move a budget of MACs until the file is as fast as asked for, measured in turns."""
    before = total(costs(network).values()).macs
    aim, ratio, best = share, 1.0, None
    with tempfile.TemporaryDirectory() as folder:
        whole = export_onnx(network, Path(folder) / "whole.onnx").path
        feed = {name: as_array(x) for name, x in example_tensors(network).items()}
        for number in range(_TRIES):
            found = within(int(aim * before), "macs")
            path = export_onnx(found.network, Path(folder) / f"{number}.onnx").path
            ratio = measure_latency(whole, path, feed).ratio
            if ratio <= share:
                best = found
            if abs(ratio - share) <= _CLOSE * share:
                return found
            aim = min(aim * share / ratio, 1.0)
    if best is None:
        raise InvalidInputError(
            f"latency={share} was not reached: {ratio:.2f} of the time at {aim:.2f} of the MACs; "
            "ask for less, or for MACs"
        )
    return best
