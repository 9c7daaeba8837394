"""Counts the cost of a network with pruned channels and with layers replaced by chains.

    numbers of a tensor = Π over its axes of the channels that stay along them
    MACs of a layer     = numbers of its weight · positions at which it is applied

Both are computed in closed form. The positions are those of the whole network, since only channels
are removed, and `tersor.channels.removal` finds which channels lie along which axis of a weight. So
grouped and depthwise layers need no rules of their own, and no network is edited to count it.

If units stay with independent probabilities, the mean along each axis in place of the count gives
E[MACs], with which gates are trained.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, fx

from tersor.compression.chain import LayerSizes
from tersor.compression.factorize import Factorization, method_of, ranks_at
from tersor.compression.groups import Groups, UnitMasks, UnitScores, channel_groups
from tersor.compression.ways import Factored, Way, dropped_in, masks_of
from tersor.core.ranks import shapes_of
from tersor.graph.costs import Cost, total
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network
from tersor.graph.shapes import shapes

Places = Int[Tensor, " channels"]


@dataclass(frozen=True)
class _Tensor:
    """A weight or a bias.

    Attributes:
        shape: Its shape, if all channels stay.
        axes: Axis → the index of the unit of each channel along it, among the units of all groups;
            −1 if the channel cannot be pruned.
    """

    shape: tuple[int, ...]
    axes: dict[int, Places]

    def masks(self, stays: Tensor) -> dict[int, Tensor]:
        return {axis: stays[places] for axis, places in self.axes.items()}

    def shape_with(self, stays: Bool[Tensor, " places"]) -> tuple[int, ...]:
        left = {axis: int(mask.sum()) for axis, mask in self.masks(stays).items()}
        return tuple(left.get(axis, size) for axis, size in enumerate(self.shape))

    def share(self, likely: Float[Tensor, " places"]) -> Float[Tensor, ""]:
        means = [mask.mean() for mask in self.masks(likely).values()]
        return torch.stack([likely.new_ones(()), *means]).prod()


@dataclass(frozen=True)
class _Call:
    """One call of a layer.

    Attributes:
        layer: The layer.
        sizes: The sizes at which it runs.
        weight: Its weight.
        stored: Its tensors that no earlier call uses.
    """

    layer: Layer
    sizes: LayerSizes
    weight: _Tensor
    stored: tuple[_Tensor, ...]

    @property
    def tensors(self) -> tuple[_Tensor, ...]:
        return self.weight, *self.stored

    def cost(self, stays: Bool[Tensor, " places"]) -> Cost:
        numbers = sum(math.prod(tensor.shape_with(stays)) for tensor in self.stored)
        return Cost(self.sizes.macs(self.weight.shape_with(stays)), numbers)


class Counts:
    """The cost of a network after any compression.

    Attributes:
        network: The network. It must not be edited.
        groups: Its groups of channels.
        sizes: Layer name → the sizes at which the layer runs.
        each: Layer name → its cost before compression, in execution order.
    """

    def __init__(self, network: Network, groups: Groups | None = None) -> None:
        """Collect the shapes of all calls.

        Args:
            network: The network.
            groups: The groups whose channels may be pruned. Default: all.
        """
        self.network = network
        self.groups = channel_groups(network) if groups is None else groups
        self._calls = _calls(network, self.groups)
        self.sizes = {name: calls[-1].sizes for name, calls in self._calls.items()}
        self._known: dict[tuple[object, ...], Cost] = {}
        self._touched = _touched(self._calls, self.groups)
        stays = self._stays({})
        self.each = {name: self._after(name, stays, None) for name in self._calls}

    @property
    def whole(self) -> Cost:
        """The cost of the network before compression."""
        return total(self.each.values())

    def cost(self, ways: Sequence[Way]) -> Cost:
        """Count the exact cost of the network with some ways.

        Args:
            ways: The ways.
        """
        return total(self.after(ways).values())

    def after(self, ways: Sequence[Way]) -> dict[str, Cost]:
        """Count the exact cost of each layer, by name; a chain has the name of its layer.

        The last layer of a branch that is left out keeps one number for each channel.

        Args:
            ways: The ways.
        """
        masks, chains = masks_of(ways), _chains(ways)
        stays, touched = self._stays(masks), [self._touched.get(name, set()) for name in masks]
        changed = chains.keys() | set().union(*touched)
        names = changed & self._calls.keys()
        found = {name: self._after(name, stays, chains.get(name)) for name in names}
        dropped = dropped_in(ways)
        gone = {name: Cost(0, 0) for branch in dropped for name in branch.layers}
        constants = {b.last: Cost(0, self._outputs(b.last, stays)) for b in dropped}
        return self.each | found | gone | constants

    def choices(self, ways: Sequence[Way]) -> dict[str, Factorization]:
        """Choose the ranks of the layers that become chains, by name.

        If channels of a layer are pruned, its ranks are chosen anew for the same share of the MACs
        that remain. If that is not possible, the layer is not factorized.

        Args:
            ways: The ways.
        """
        stays, chains = self._stays(masks_of(ways)), _chains(ways)
        found = ((name, self._choice(name, stays, chains.get(name))) for name in self._calls)
        return {name: choice for name, choice in found if choice is not None}

    def expected(self, stays: UnitScores | UnitMasks) -> Float[Tensor, ""]:
        """Compute E[MACs] / MACs: exact for masks, independent units for probabilities.

        Args:
            stays: Name of a group → the probability that each of its units stays, or a mask.
        """
        found = [stays[group.name] for group in self.groups.found]
        likely = torch.cat([*found, found[0].new_ones(1)])
        likely = likely if likely.is_floating_point() else likely.double()
        calls = (call for calls in self._calls.values() for call in calls)
        parts = [call.sizes.macs(call.weight.shape) * call.weight.share(likely) for call in calls]
        return torch.stack(parts).sum() / self.whole.macs

    def marginal(self, keep: UnitMasks | None = None) -> dict[str, Float[Tensor, " units"]]:
        """Compute the share of the MACs that each unit alone costs, by the name of its group.

        Args:
            keep: The units that still exist. Default: all.
        """
        stays = {
            group.name: torch.ones(len(group)) if keep is None else keep[group.name].float()
            for group in self.groups.found
        }
        leaves = [stay.requires_grad_() for stay in stays.values()]
        with torch.enable_grad():
            found = torch.autograd.grad(self.expected(stays), leaves)
        return dict(zip(stays, found, strict=True))

    def _stays(self, masks: UnitMasks) -> Bool[Tensor, " places"]:
        """Join the masks of all groups, and add a last entry for channels that cannot be pruned."""
        groups = self.groups.found
        found = [masks.get(g.name, torch.ones(len(g), dtype=torch.bool)) for g in groups]
        return torch.cat([*found, torch.ones(1, dtype=torch.bool)])

    def _after(self, name: str, stays: Tensor, way: Factored | None) -> Cost:
        """Count the cost of a layer, once for each way and each choice of its channels."""
        calls = self._calls[name]
        tensors = (tensor for call in calls for tensor in call.tensors)
        masks = (mask for tensor in tensors for mask in tensor.masks(stays).values())
        key = (name, way, *(mask.numpy().tobytes() for mask in masks))
        if key not in self._known:
            whole = total(call.cost(stays) for call in calls)
            choice = self._choice(name, stays, way)
            found = whole if choice is None else self._chain_cost(name, stays, choice, whole)
            self._known[key] = found
        return self._known[key]

    def _outputs(self, name: str, stays: Tensor) -> int:
        """The number of output channels that stay of a layer that is not transposed."""
        (call,) = self._calls[name]
        return call.weight.shape_with(stays)[0]

    def _chain_cost(self, name: str, stays: Tensor, choice: Factorization, whole: Cost) -> Cost:
        (call,) = self._calls[name]
        shape = call.weight.shape_with(stays)
        factors = shapes_of(method_of(call.layer, choice.method), shape, choice.ranks)
        bias = whole.parameters - math.prod(shape)
        return Cost(call.sizes.macs(*factors), sum(map(math.prod, factors)) + bias)

    def _choice(self, name: str, stays: Tensor, way: Factored | None) -> Factorization | None:
        if way is None:
            return None
        (call,) = self._calls[name]
        weight, masks = call.layer.weight.detach(), call.weight.masks(stays)
        if all(bool(mask.all()) for mask in masks.values()):
            return Factorization(way.method, way.ranks)
        for axis, mask in masks.items():
            weight = weight.index_select(axis, mask.nonzero().flatten().to(weight.device))
        ranks = ranks_at(call.sizes, weight, way.method, way.ratio, way.multiple)
        return None if ranks is None else Factorization(way.method, ranks)


def _chains(ways: Sequence[Way]) -> dict[str, Factored]:
    gone = {name for branch in dropped_in(ways) for name in branch.layers}
    found = (way for way in ways if isinstance(way, Factored))
    return {way.layer: way for way in found if way.layer not in gone}


def _calls(network: Network, groups: Groups) -> dict[str, list[_Call]]:
    """Collect the calls of each layer, by name."""
    seen, places = shapes(network), _places(groups)
    axes: dict[str, dict[int, Places]] = {}
    for stored in groups.partition.stored:
        axes.setdefault(str(stored.node.target), {})[stored.axis] = places[stored.channels]

    def tensor(node: fx.Node) -> _Tensor:
        is_stored = node.op == "get_attr"
        return _Tensor(tuple(seen[node]), axes.get(str(node.target), {}) if is_stored else {})

    found: dict[str, list[_Call]] = {}
    counted: set[fx.Node] = set()
    for layer in layers(network):
        nodes = [node for node in (layer.weight_node, layer.bias_node) if node is not None]
        new = [node for node in nodes if node.op == "get_attr" and node not in counted]
        counted.update(new)
        sizes, weight = LayerSizes.of(layer, seen), tensor(layer.weight_node)
        found.setdefault(layer.name, []).append(_Call(layer, sizes, weight, (*map(tensor, new),)))
    return found


def _touched(calls: Mapping[str, Sequence[_Call]], groups: Groups) -> dict[str, set[str]]:
    """Find the layers with channels of a group along an axis of a tensor, by the group's name."""
    owners = [group.name for group in groups.found for _ in range(len(group))]
    found: dict[str, set[str]] = {group.name: set() for group in groups.found}
    for name, of_layer in calls.items():
        tensors = (tensor for call in of_layer for tensor in call.tensors)
        for places in (places for tensor in tensors for places in tensor.axes.values()):
            for owner in {owners[place] for place in places[places >= 0].tolist()}:
                found[owner].add(name)
    return found


def _places(groups: Groups) -> Int[Tensor, " classes"]:
    """The index of each class among the units of all groups; −1 if it cannot be pruned."""
    places = torch.full((groups.partition.count,), -1)
    count = 0
    for group in groups.found:
        places[group.units] = torch.arange(count, count + len(group))
        count += len(group)
    return places
