"""min over W, b of  E‖y − W x̂ − b‖²:  W = Cov(y, x̂) Cov(x̂)⁻¹,  b = E[y] − W E[x̂].

He et al., arXiv 1707.06168, §3.1 (the second step) and §3.3: once channels are pruned, every layer
with a changed input is fitted to its output in the original network. x̂ is its input in the
compressed network, so that a layer compensates the errors of the layers before it. If its output is
added to a shortcut, it also compensates the error of the shortcut. Layers that become chains
(`tersor.compression.on_data`) do so in the same walk, and the layers behind them compensate theirs.

Differs from the paper in: all layers after the first change are fitted, not only those that lost
inputs. The bias is fitted, too. A pull towards the original weights prevents overfitting: the
layers before were fitted to the same samples, where their errors are smaller than elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.channels.narrow import Remaining, what_is_left
from tersor.checked import Count, PositiveOrZero, checked
from tersor.compression.chain import LayerSizes
from tersor.compression.chain_fit import Refit
from tersor.compression.factorize import Factorization
from tersor.compression.groups import Groups, UnitMasks, channel_groups
from tersor.compression.on_data import Chains
from tersor.compression.prune import classes_kept
from tersor.core.quadratic import Quadratic, best_bias, best_weights
from tersor.data.walk.gram import moments_of
from tersor.data.walk.observe import Batch
from tersor.data.walk.per_batch import Computed, Values, lengths
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.stream import Stream
from tersor.errors import InvalidInputError
from tersor.graph.layers import Layer, is_layer, layers
from tersor.graph.network import Applied, Network, OnLayer, Record, Skipped
from tersor.graph.nodes import operand
from tersor.graph.shapes import shapes

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
    damping: PositiveOrZero = 0.05
    seed: int = 0


def reconstruct(
    network: Network,
    original: Network,
    keep: UnitMasks,
    batches: Sequence[Batch],
    options: Reconstruct = Reconstruct(),
    on_layer: OnLayer | None = None,
    groups: Groups | None = None,
    chains: Chains | None = None,
    constants: Mapping[str, fx.Node] | None = None,
    shelf: Shelf | None = None,
) -> None:
    """Fit the layers of a compressed network to their original outputs, in forward order.

    Args:
        network: The original after `prune_groups(…, keep)`; edited in place.
        original: The network before it was pruned.
        keep: Name of a group of the original → which of its units were kept.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        options: See `Reconstruct`.
        on_layer: Called after each layer with its number, the total number, and its record.
        groups: All groups of the original, if they are known.
        chains: The layers that become chains on the way.
        constants: The sums of branches that were left out, by name, with the constant that each of
            them adds instead.
        shelf: Keeps the values of both networks; by default one that has room for all.

    Raises:
        InvalidInputError: There is no batch, no layer has a given name, or ranks do not suit their
            layer.
    """
    if not batches:
        raise InvalidInputError("there is no batch to reconstruct with; give at least one sample")
    todo, chains = {layer.node: layer.name for layer in layers(network)}, chains or Chains()
    if missing := chains.choices.keys() - set(todo.values()):
        raise InvalidInputError(f"there is no layer {min(missing)!r}; see `tersor inspect`")
    found = channel_groups(original) if groups is None else groups
    pair, number = _Pair(network, original, found, keep, batches, shelf), 0
    for node in network.nodes():
        pair.catch_up(node)
        if node not in todo:
            pair.pass_on(node, (constants or {}).get(node.name))
            continue
        record = _next(Layer(node, network), pair, options, chains, number)
        number += 1
        if record is not None:
            network.records.append(record)
            if on_layer is not None:
                on_layer(number, len(todo), record)
    network.finish()


def factorize_with_data(
    network: Network,
    choices: Mapping[str, Factorization],
    batches: Sequence[Batch],
    refit: Refit | None = None,
    on_layer: OnLayer | None = None,
) -> None:
    """Factorize layers in forward order, and fit the layers behind them to their outputs before.

    Args:
        network: The float network; edited in place.
        choices: Layer name → its factorization.
        batches: Unlabelled inputs, as `(args, kwargs)`.
        refit: How the factors are fitted to the data.
        on_layer: See `reconstruct`.

    Raises:
        InvalidInputError: As for `reconstruct`.
    """
    seen = shapes(network)
    found = [layer for layer in layers(network) if layer.name in choices]
    sizes = {layer.name: LayerSizes.of(layer, seen) for layer in found}
    chains = Chains(choices, sizes, refit or Refit())
    reconstruct(network, network.copy(), {}, batches, on_layer=on_layer, chains=chains)


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
        shelf: Shelf | None,
    ) -> None:
        stays = classes_kept(groups, keep)
        values = groups.partition.values
        self.left: dict[str, Any] = {n.name: what_is_left(v, stays) for n, v in values.items()}
        self.whole = Stream(original, batches, simulate=False, shelf=shelf)
        self.pruned = Stream(network, batches, simulate=False, shelf=shelf)
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

    def run(self, chain: Sequence[Layer], is_new: bool) -> None:
        """Run a layer, or the chain in its place, and drop the values between its factors."""
        for layer in chain:
            self.pruned.run(layer.node)
        for layer in chain[:-1]:
            self.pruned.values.pop(layer.node.name, None)
        if is_new:
            self._changed.add(chain[-1].node)

    def pass_on(self, node: fx.Node, constant: fx.Node | None) -> None:
        """Run a node that is no layer; a constant that it adds is set to the mean of what lacks."""
        if constant is not None:
            (trunk,) = (arg for arg in node.all_input_nodes if arg is not constant)
            value = self.pruned.network.tensor(constant)
            pairs = zip(self._was(node), self.pruned.of(trunk), strict=True)
            lacking = torch.cat([_of_samples(was - now, value.ndim) for was, now in pairs])
            self.pruned.network.replace_tensor(constant, lacking.mean(0).reshape(value.shape))
            self._changed.add(node)
        self.pruned.run(node)

    def wanted(self, layer: Layer) -> Values:
        """The wanted output for every batch: the original one, plus the error of a shortcut."""
        values = self._was(layer.node)
        other = _shortcut(layer.node)
        if other is None or other.name not in self.pruned.values:
            return values
        return Computed(_with_error, values, self._was(other), self.pruned.of(other))

    def _was(self, node: fx.Node) -> Values:
        left = self.left.get(node.name)
        return Computed(lambda x: _pick(x, left), self.whole.values[node.name][:])


def _with_error(value: Tensor, was: Tensor, now: Tensor) -> Tensor:
    """An output, plus the error of the shortcut that is added to it."""
    lack = was - now
    return value + lack if value.shape == lack.shape else value


def _of_samples(value: Tensor, places: int) -> Float[Tensor, "samples channels"]:
    """The means of the channels, which lie so many axes from the end, of each sample."""
    return value.movedim(-places, -1).flatten(1, -2).mean(1) if value.ndim > 2 else value


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


def _next(
    layer: Layer, pair: _Pair, options: Reconstruct, chains: Chains, number: int
) -> Record | None:
    """Replace or fit the layer that runs next, if it has to change, and run it."""
    chain, record, is_chosen = [layer], None, layer.name in chains.choices
    if is_chosen:
        given = pair.pruned.of(operand(layer.node)), pair.wanted(layer)
        record, chain = chains.put(layer, *given, number)
    elif pair.is_changed(layer.node):
        record = _fit(layer, pair, options, options.seed + number)
    pair.run(chain, is_chosen)
    return record


def _fit(layer: Layer, pair: _Pair, options: Reconstruct, seed: int) -> Record:
    reason = _refusal(layer)
    if reason is not None:
        return Skipped(layer.name, "reconstruct", reason)
    given, wanted = pair.pruned.of(operand(layer.node)), pair.wanted(layer)
    count = math.ceil(options.positions / sum(lengths(given)))
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
    return Applied(layer.name, "reconstruct", "fitted to its outputs before", numbers)


def _share(errors: Tensor, free: Quadratic) -> float:
    """Squared error as a share of the variance of the wanted outputs."""
    return float(errors.sum() / free.energy.sum().clamp(min=torch.finfo(errors.dtype).tiny))


def _refusal(layer: Layer) -> str | None:
    if layer.is_transposed:
        return "it is a transposed convolution"
    if layer.computed:
        return layer.computed
    return None if layer.has_own_weight else "it shares its weight with another call"
