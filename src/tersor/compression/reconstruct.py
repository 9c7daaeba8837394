"""min over W, b of  E‖y − W x̂ − b‖²:  W = Cov(y, x̂) Cov(x̂)⁻¹,  b = E[y] − W E[x̂].

He et al., arXiv 1707.06168, §3.1 (the second step) and §3.3: once channels are pruned, every layer
with a changed input is fitted to its output in the original network. x̂ is its input in the pruned
network, so that a layer compensates the errors of the layers before it. If its output is added to a
shortcut, it also compensates the error of the shortcut.

Differs from the paper in: all layers after the first change are fitted, not only those that lost
inputs. The bias is fitted, too. A pull towards the original weights prevents overfitting to few
samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from tersor.channels.narrow import Remaining, what_is_left
from tersor.checked import Count, PositiveOrZero, checked
from tersor.compression.groups import Groups, UnitMasks, channel_groups
from tersor.compression.prune import classes_kept
from tersor.core.quadratic import Quadratic, best_bias, best_weights
from tersor.data.gram import moments_of
from tersor.data.observe import Batch
from tersor.data.stream import Stream
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, is_layer, layers
from tersor.graph.network import Applied, Network, OnLayer, Record, Skipped
from tersor.graph.nodes import operand

aten = torch.ops.aten


@checked()
@dataclass(frozen=True)
class Reconstruct:
    """Options of the reconstruction.

    Attributes:
        positions: Number of output positions to fit to, in all samples together.
        damping: Pull towards the original weights, as a share of the mean diagonal of E[x̂ x̂ᵀ].
        seed: Seed of the sampled positions.
    """

    positions: Count = 20_000
    damping: PositiveOrZero = 1e-3
    seed: int = 0


def reconstruct(
    network: Network,
    original: Network,
    keep: UnitMasks,
    batches: Sequence[Batch],
    options: Reconstruct = Reconstruct(),
    on_layer: OnLayer | None = None,
    groups: Groups | None = None,
) -> None:
    """Fit the layers of a pruned network to their original outputs, in forward order.

    Args:
        network: The original after `prune_groups(…, keep)`; edited in place.
        original: The network before it was pruned.
        keep: Name of a group of the original → which of its units were kept.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        options: See `Reconstruct`.
        on_layer: Called after each layer with its number, the total number, and its record.
        groups: All groups of the original, if they are known.

    Raises:
        InvalidInputError: There is no batch.
    """
    if not batches:
        raise InvalidInputError("there is no batch to reconstruct with; give at least one sample")
    found = channel_groups(original) if groups is None else groups
    pair = _Pair(network, original, found, keep, batches)
    todo = [layer.node for layer in layers(network)]
    for node in network.nodes():
        pair.catch_up(node)
        if is_layer(node) and pair.is_changed(node):
            number = todo.index(node)
            record = _fit(Layer(node, network), pair, options, options.seed + number)
            network.records.append(record)
            if on_layer is not None:
                on_layer(number + 1, len(todo), record)
        pair.pruned.run(node)
    network.finish()


class _Pair:
    """The original and the pruned network, run side by side.

    Attributes:
        whole: The stream through the original network.
        pruned: The stream through the pruned network.
        left: Node name → the channels of its value that remain.
    """

    def __init__(
        self,
        network: Network,
        original: Network,
        groups: Groups,
        keep: UnitMasks,
        batches: Sequence[Batch],
    ) -> None:
        stays = classes_kept(groups, keep)
        values = groups.partition.values
        self.left: dict[str, Any] = {n.name: what_is_left(v, stays) for n, v in values.items()}
        self.whole = Stream(original, batches, simulate=False)
        self.pruned = Stream(network, batches, simulate=False)
        self._ahead = list(original.graph.nodes)
        self._known = {node.name for node in self._ahead}
        self._changed: set[fx.Node] = set()

    def catch_up(self, node: fx.Node) -> None:
        """Run the original network up to a node of the pruned one, and note changed inputs."""
        while node.name in self._known:
            first = self._ahead.pop(0)
            self.whole.run(first)
            self._known.discard(first.name)
        reads = node.all_input_nodes[:1] if is_layer(node) else node.all_input_nodes
        lost = is_layer(node) and self.left.get(reads[0].name) is not None
        if lost or not self._changed.isdisjoint(reads):
            self._changed.add(node)

    def is_changed(self, node: fx.Node) -> bool:
        """Whether the remaining channels of a value differ from the original ones."""
        return node in self._changed

    def wanted(self, layer: Layer) -> list[Tensor]:
        """The wanted output for every batch: the original one, plus the error of a shortcut."""
        values = self._was(layer.node)
        other = _shortcut(layer.node)
        if other is None or other.name not in self.pruned.values:
            return values
        lacking = zip(self._was(other), self.pruned.of(other), strict=True)
        pairs = zip(values, (was - now for was, now in lacking), strict=True)
        return [y + lack if y.shape == lack.shape else y for y, lack in pairs]

    def _was(self, node: fx.Node) -> list[Tensor]:
        return [_pick(x, self.left.get(node.name)) for x in self.whole.values[node.name]]


def _shortcut(node: fx.Node) -> fx.Node | None:
    """The other operand, if a single addition is all that reads a node."""
    (reader, *more) = node.users
    if more or reader.target is not aten.add.Tensor or reader.kwargs:
        return None
    others = [arg for arg in reader.args if isinstance(arg, fx.Node) and arg is not node]
    return others[0] if len(others) == 1 else None


def _pick(value: Tensor, left: Remaining | None) -> Tensor:
    if left is None:
        return value
    return value.index_select(left[0], left[1].nonzero().flatten().to(value.device))


def _fit(layer: Layer, pair: _Pair, options: Reconstruct, seed: int) -> Record:
    reason = _refusal(layer)
    if reason is not None:
        return Skipped(layer.name, "reconstruct", reason)
    given, wanted = pair.pruned.of(operand(layer.node)), pair.wanted(layer)
    count = math.ceil(options.positions / sum(map(len, given)))
    generator = torch.Generator().manual_seed(seed)
    found = moments_of(layer, zip(given, wanted, strict=True), count, generator)
    free, before = found.centered(), layer.grouped_weight().detach().flatten(2)
    weights = best_weights(free.damped(before, options.damping))
    shift = best_bias(weights, found.inputs, found.outputs).flatten()
    numbers = {
        "error before": _share(found.problem.error(before), free),
        "error after": _share(free.error(weights), free),
    }
    layer.set_grouped_weight(weights.reshape(layer.grouped_weight().shape))
    layer.add_to_bias(shift)
    return Applied(layer.name, "reconstruct", "fitted to its outputs before pruning", numbers)


def _share(errors: Tensor, free: Quadratic) -> float:
    """Squared error as a share of the variance of the wanted outputs."""
    return float(errors.sum() / free.energy.sum().clamp(min=torch.finfo(errors.dtype).tiny))


def _refusal(layer: Layer) -> str | None:
    if layer.is_transposed:
        return "it is a transposed convolution"
    if layer.computed:
        return layer.computed
    return None if layer.has_own_weight else "it shares its weight with another call"
