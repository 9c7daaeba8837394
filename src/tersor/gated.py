"""Level 3 of pruning: gates learn which channels may go, while the network is trained.

arXiv 1912.09802 compares such methods with factorization; see `tersor.compress.probabilistic` for
the loss. The training comes in two parts: gates choose, starting from what samples say that units
are worth; what they left is fitted to the float network on those samples, and learns on without
gates.
"""

from dataclasses import replace
from pathlib import Path

from tersor.compress.gates import Gates, insert_gates
from tersor.compress.groups import channel_groups
from tersor.compress.macs import Macs, per_mac
from tersor.compress.probabilistic import GatePenalty, remove_gates, units_kept
from tersor.compress.reconstruct import reconstruct
from tersor.compress.scores import gradient_scores
from tersor.compressed import Compressed
from tersor.data.observe import Batch
from tersor.graph.costs import costs, total
from tersor.graph.network import Network
from tersor.levels import Compression
from tersor.names import GateKind
from tersor.train.optimizer import total_rate
from tersor.train.options import Training
from tersor.training import TrainingRun, train_network


def train_gates(
    most: int, run: TrainingRun, kind: GateKind, options: Compression, batches: list[Batch]
) -> Compressed:
    """Train with gates, remove what they closed, and train what is left.

    Args:
        most: MACs that may be left.
        run: The training; its `folder` gets one folder for each part. It starts from a float
            network, BatchNorms folded, which is not changed.
        kind: Of the gates.
        options: See `Compression`.
        batches: Samples.
    """
    original = run.start.network
    network, gating = original.copy(), options.gating
    share = most / total(costs(network).values()).macs
    first, second = _divided(run.options, gating.share)
    part = _part(run, first, "gates")
    _insert(network, part, kind, options, batches)
    steps = part.feed.total(first.epochs, first.steps)
    given = share, gating.strength, gating.haste, gating.margin
    train_network(network, part, GatePenalty(Macs(network), steps, *given), kind, gating, share)
    keep = units_kept(network, share)
    remove_gates(network, keep)
    reconstruct(network, original, keep, batches, options.reconstruct)
    if second is not None:
        start = Compressed(network.copy(), run.start.original)
        train_network(network, replace(_part(run, second.near(1.0), "rest"), start=start))
    return Compressed(network, run.start.original)


def _insert(
    network: Network,
    run: TrainingRun,
    kind: GateKind,
    options: Compression,
    batches: list[Batch],
) -> None:
    """Put gates in, with the speed that takes them as far as they are to travel."""
    gating, training = options.gating, run.options
    updates = max(run.feed.total(training.epochs, training.steps) // training.accumulate, 1)
    far = training.highest_rate * total_rate(updates, training.warm_up)
    worth = gradient_scores(network, channel_groups(network).found, batches)
    gates = Gates(kind, gating.start, gating.travel / far)
    insert_gates(network, gates, per_mac(worth, Macs(network)))


def _divided(options: Training, share: float) -> tuple[Training, Training | None]:
    """The training in two parts, of whole epochs or steps."""
    unit = "epochs" if options.steps is None else "steps"
    number: int = getattr(options, unit)
    first = max(1, min(round(number * share), number))
    rest = None if first == number else replace(options, **{unit: number - first})
    return replace(options, **{unit: first}), rest


def _part(run: TrainingRun, options: Training, name: str) -> TrainingRun:
    folder = None if run.folder is None else Path(run.folder) / name
    return replace(run, options=options, folder=folder)
