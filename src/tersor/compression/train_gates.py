"""Level 3 of pruning: during training, gates learn which channels to prune.

arXiv 1912.09802 compares such methods with factorization; see `tersor.compression.gate_training`
for the loss. The training has two parts. In the first, gates choose the channels, starting from the
importance of units measured on samples. Then the pruned network is fitted to the network before on
these samples, where that helps, and the second part trains it without gates.

If layers were factorized before, the ranks of their chains are channels like others, and gates
choose these, too. The BatchNorms do not come back then; see `Training.near`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tersor.compression.channel_gates import Gates, insert_gates
from tersor.compression.counts import Counts
from tersor.compression.gate_training import GatePenalty, remove_gates, units_kept
from tersor.compression.groups import UnitMasks, channel_groups
from tersor.compression.options import Compression
from tersor.compression.reconstruct import Reconstruct, reconstruct
from tersor.compression.scores import gradient_scores
from tersor.compression.trial import layers_named
from tersor.compression.unit_choice import per_mac
from tersor.data.walk.observe import Batch, samples_of
from tersor.errors import InvalidInputError
from tersor.graph.network import Applied, Network, Record
from tersor.names import GateKind
from tersor.training.log import Line
from tersor.training.optimizer import total_rate
from tersor.training.options import Training
from tersor.training.run import TrainingRun, train_network

_JUDGING = 512  # training samples that tell whether a fit to the others helps


def train_gates(
    most: int,
    run: TrainingRun,
    kind: GateKind,
    options: Compression,
    batches: Sequence[Batch],
    exclude: Iterable[str] = (),
) -> tuple[Network, list[Line]]:
    """Train with gates, prune the channels that they closed, and train the pruned network.

    Args:
        most: MACs that may remain.
        run: The training run; its `folder` gets one folder for each part. It starts from a float
            network with folded BatchNorms, perhaps compressed by other methods.
        kind: The kind of the gates.
        options: See `Compression`.
        batches: Samples.
        exclude: Names of layers whose channels stay; see `tersor.compress`.

    Returns:
        The pruned and trained network, and the log of both parts.

    Raises:
        InvalidInputError: A name matches nothing, or no group of channels remains to prune.
        TooSmallError: Even one channel per group takes more MACs than may remain.
    """
    network, multiple = run.network.copy(), options.multiple or 1
    groups = channel_groups(network).apart_from(layers_named(network, exclude))
    if not groups.found:
        raise InvalidInputError(
            f"there are no channels for {kind!r} gates: every group of channels is refused or "
            "excluded. See the records of `tersor inspect`, or exclude fewer layers"
        )
    counts, gating = Counts(network, groups), options.gating
    share = most / counts.whole.macs
    first, second = _divided(run.options, gating.share)
    part = _part(run, first.near(1.0) if options.others else first, "gates")
    gated = _insert(counts, part, kind, options, batches)
    likely = units_kept(network, share, multiple)
    steps = part.feed.total(first.epochs, first.steps)
    given = share, gating.strength, gating.strength_growth, gating.border_openness
    penalty = GatePenalty(gated, steps, *given, multiple=multiple)
    lines = train_network(network, part, penalty, kind, gating, share, multiple)
    keep = units_kept(network, share, multiple)
    remove_gates(network, keep)
    network.records.append(_moved(likely, keep))
    network = _fitted(network, keep, run, options.reconstruct, batches)
    if second is not None:
        rest = replace(_part(run, second.near(1.0), "rest"), network=network.copy())
        lines += train_network(network, rest)
    return network, lines


def _moved(likely: UnitMasks, keep: UnitMasks) -> Record:
    """Record how far the training departed from the order in which gates started."""
    was, stays = (torch.cat([masks[name] for name in keep]) for masks in (likely, keep))
    new = int((stays & ~was).sum())
    what = f"{new} of the {int(stays.sum())} units kept would have been closed before the training"
    numbers = {"units": len(stays), "kept": int(stays.sum()), "kept by training only": new}
    return Applied("network", "gates", what, {name: float(x) for name, x in numbers.items()})


def _fitted(
    network: Network,
    keep: UnitMasks,
    run: TrainingRun,
    options: Reconstruct,
    batches: Sequence[Batch],
) -> Network:
    """Fit the pruned network to the samples, if that lowers the loss on other batches.

    After a short training it does. A long training teaches weights more than it undoes.
    """
    fitted = network.copy()
    reconstruct(fitted, run.network, keep, batches, options)
    count = sum(map(samples_of, batches))  # the first batches may be these samples
    judge = replace(run, options=run.options.near(1.0))
    before, after = (judge.loss_of(each, count, _JUDGING) for each in (network, fitted))
    better = fitted if after < before else network
    what = "fitted to the samples" if after < before else "as the training left it"
    numbers = {"loss as trained": before, "loss fitted": after}
    better.records.append(Applied("network", "fit", what, numbers))
    return better


def _insert(
    counts: Counts,
    run: TrainingRun,
    kind: GateKind,
    options: Compression,
    batches: Sequence[Batch],
) -> Counts:
    """Insert gates, with the speed that lets them move by up to `Gating.largest_move`.

    Returns:
        The counts of the network with gates.
    """
    gating, training = options.gating, run.options
    network, groups = counts.network, counts.groups
    updates = max(run.feed.total(training.epochs, training.steps) // training.accumulate, 1)
    far = training.highest_rate * total_rate(updates, training.warm_up)
    worth = gradient_scores(network, groups.found, batches)
    gates = Gates(kind, gating.start, gating.largest_move / far)
    insert_gates(network, gates, per_mac(worth, counts), groups)
    names = [group.name for group in groups.found]
    return Counts(network, channel_groups(network).named(names))


def _divided(options: Training, share: float) -> tuple[Training, Training | None]:
    """Divide the training into two parts of whole epochs or steps."""
    unit = "epochs" if options.steps is None else "steps"
    number: int = getattr(options, unit)
    first = max(1, min(round(number * share), number))
    rest = None if first == number else replace(options, **{unit: number - first})
    return replace(options, **{unit: first}), rest


def _part(run: TrainingRun, options: Training, name: str) -> TrainingRun:
    folder = None if run.folder is None else Path(run.folder) / name
    return replace(run, options=options, folder=folder)
