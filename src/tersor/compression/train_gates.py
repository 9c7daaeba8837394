"""Level 3 of pruning: gates learn which channels may go, while the network is trained.

arXiv 1912.09802 compares such methods with factorization; see `tersor.compression.gate_training`
for the loss. The training comes in two parts: gates choose, starting from what samples say that
units are worth; what they left is fitted to the float network on those samples, and learns on
without gates.
"""

from dataclasses import replace
from pathlib import Path

from tersor.compression.gate_training import GatePenalty, remove_gates, units_kept
from tersor.compression.gates import Gates, insert_gates
from tersor.compression.groups import channel_groups
from tersor.compression.macs import Macs, per_mac
from tersor.compression.options import Compression
from tersor.compression.reconstruct import reconstruct
from tersor.compression.scores import gradient_scores
from tersor.data.observe import Batch
from tersor.graph.costs import costs, total
from tersor.graph.network import Network
from tersor.names import GateKind
from tersor.training.log import Line
from tersor.training.optimizer import total_rate
from tersor.training.options import Training
from tersor.training.run import TrainingRun, train_network


def train_gates(
    most: int, run: TrainingRun, kind: GateKind, options: Compression, batches: list[Batch]
) -> tuple[Network, list[Line]]:
    """Train with gates, remove what they closed, and train what is left.

    Args:
        most: MACs that may be left.
        run: The training; its `folder` gets one folder for each part. It starts from a float
            network, BatchNorms folded, which is not changed.
        kind: Of the gates.
        options: See `Compression`.
        batches: Samples.

    Returns:
        What is left, trained, and the log of both parts.
    """
    original = run.network
    network, gating = original.copy(), options.gating
    share = most / total(costs(network).values()).macs
    first, second = _divided(run.options, gating.share)
    part = _part(run, first, "gates")
    _insert(network, part, kind, options, batches)
    steps = part.feed.total(first.epochs, first.steps)
    given = share, gating.strength, gating.strength_growth, gating.border_openness
    penalty = GatePenalty(Macs(network), steps, *given)
    lines = train_network(network, part, penalty, kind, gating, share)
    keep = units_kept(network, share)
    remove_gates(network, keep)
    reconstruct(network, original, keep, batches, options.reconstruct)
    if second is not None:
        rest = replace(_part(run, second.near(1.0), "rest"), network=network.copy())
        lines += train_network(network, rest)
    return network, lines


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
    gates = Gates(kind, gating.start, gating.largest_move / far)
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
