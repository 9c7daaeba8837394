"""Level 3 of pruning: gates learn which channels may go, while the network is trained.

arXiv 1912.09802 compares such methods with factorization; see `tersor.compress.probabilistic` for
the loss. The training comes in two parts: gates choose, and what they left learns on without them.
"""

from dataclasses import replace
from pathlib import Path

from tersor.compress.gates import Gates, insert_gates
from tersor.compress.macs import Macs
from tersor.compress.probabilistic import GatePenalty, Gating, remove_gates
from tersor.compressed import Compressed
from tersor.graph.costs import costs, total
from tersor.graph.network import Network
from tersor.names import GateKind
from tersor.train.options import Training
from tersor.training import TrainingRun, train_network


def train_gates(
    network: Network, most: int, run: TrainingRun, kind: GateKind, options: Gating
) -> Compressed:
    """Train with gates, remove what they closed, and train what is left.

    Args:
        network: A float network, BatchNorms folded; it is not changed.
        most: MACs that may be left.
        run: The training; its `folder` gets one folder for each part.
        kind: Of the gates.
        options: See `Gating`.
    """
    network = network.copy()
    share = most / total(costs(network).values()).macs
    first, second = _divided(run.options, options.share)
    insert_gates(network, Gates(kind, options.start, options.speed))
    penalty = GatePenalty(Macs(network), share, options.strength, options.haste)
    train_network(network, _part(run, first, "gates"), penalty, kind, options, share)
    remove_gates(network, share)
    if second is not None:
        start = Compressed(network.copy(), run.start.original)
        train_network(network, replace(_part(run, second, "rest"), start=start))
    return Compressed(network, run.start.original)


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
