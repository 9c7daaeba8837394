"""What can be done to the parts of a network, and the weights that show what it does.

A part is a layer that becomes a chain of factors, or a group of channels of which some go. To see
what a way does, nothing is cut: a chain computes what its layer computes with the product of its
factors for a weight, and channels that have gone are zeros in the weights that read them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, fx

from tersor.channels.partition import Port
from tersor.compression.chain import Site
from tersor.compression.chain_fit import Refit, fit_chain
from tersor.compression.factorize import Factorization, method_of, rank_for, refusal
from tersor.compression.groups import Group, Groups, channel_groups
from tersor.core.decompose import compose
from tersor.core.quadratic import Quadratic, best_bias, best_weights
from tersor.core.ranks import shapes_of
from tersor.data.gram import Moments
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network, Skipped
from tersor.graph.shapes import shapes
from tersor.names import Method

Scorer = Callable[[Group, int], Tensor]  # units to keep → a score for each unit of a group
Changed = tuple[Tensor, Tensor | None]  # a weight, and what to add to the bias


@dataclass(frozen=True)
class Factored:
    """A layer as a chain.

    Attributes:
        layer: Its name.
        method: The decomposition.
        ratio: Share of its MACs that is left, at most, before ranks are made multiples.
        ranks: The ranks at that share.
        multiple: Of what ranks are multiples.
    """

    layer: str
    method: Method
    ratio: float
    ranks: tuple[int, ...]
    multiple: int = 1

    @property
    def choice(self) -> Factorization:
        """What `factorize` is told."""
        return Factorization(self.method, self.ranks)


@dataclass(frozen=True)
class Pruned:
    """A group with fewer channels.

    Attributes:
        group: Its name.
        keep: Which of its units stay.
        multiple: Of what their number is a multiple.
    """

    group: str
    keep: tuple[bool, ...] = field(repr=False)
    multiple: int = 1

    @property
    def mask(self) -> Bool[Tensor, " units"]:
        """What `prune` is told."""
        return torch.tensor(self.keep)


Way = Factored | Pruned


class Share(NamedTuple):
    """What is left of a layer's cost."""

    macs: float
    parameters: float


@dataclass(frozen=True)
class Part:
    """A part of a network with all that could be done to it.

    Attributes:
        name: Of the layer, or of the group.
        ways: What could be done.
        shares: For each way, what it leaves of the layers that it changes, by their names.
    """

    name: str
    ways: tuple[Way, ...]
    shares: tuple[dict[str, Share], ...]


def layer_parts(
    network: Network, methods: Sequence[Method], ratios: Sequence[float], multiple: int = 1
) -> tuple[list[Part], list[Skipped]]:
    """The layers that can become chains, and those that cannot.

    Args:
        network: The network.
        methods: Which decompositions to try.
        ratios: Shares of a layer's MACs.
        multiple: Ranks are multiples of it; see `rank_for`.
    """
    seen, found, refused = shapes(network), [], []
    for layer in layers(network):
        reason = refusal(layer)
        part = None if reason else _layer_part(layer, methods, ratios, multiple, seen)
        if part is not None:
            found.append(part)
        else:
            why = reason or "it is so small that no chain is cheaper"
            refused.append(Skipped(layer.name, "factorize", why))
    return found, refused


def _layer_part(
    layer: Layer,
    methods: Sequence[Method],
    ratios: Sequence[float],
    multiple: int,
    seen: dict[fx.Node, Any],
) -> Part | None:
    site, shape = Site(layer, seen), tuple(layer.weight.shape)
    ways: dict[Factored, dict[str, Share]] = {}
    known: set[tuple[Method, tuple[int, ...]]] = set()
    kinds: dict[Method, None] = dict.fromkeys(method_of(layer, method) for method in methods)
    for method in kinds:
        for ratio in ratios:
            ranks = rank_for(layer, method, ratio, seen, multiple)
            if ranks is not None and (method, ranks) not in known:
                known.add((method, ranks))
                factors = shapes_of(method, shape, ranks)
                left = site.chain_macs(factors) / site.macs
                share = Share(left, site.chain_parameters(factors) / site.parameters)
                ways[Factored(layer.name, method, ratio, ranks, multiple)] = {layer.name: share}
    return Part(layer.name, tuple(ways), tuple(ways.values())) if ways else None


def group_parts(
    groups: Groups, score: Scorer, ratios: Sequence[float], multiple: int = 1
) -> tuple[list[Part], list[Skipped]]:
    """The groups of channels that can be pruned, and the layers whose channels must stay.

    Args:
        groups: All groups of a network.
        score: What scores their units; those with the lowest scores go.
        ratios: Shares of the units that stay.
        multiple: How many stay is a multiple of it, in groups of more units.
    """
    found = []
    for group in groups.found:
        wanted = {max(1, round(ratio * len(group))) for ratio in ratios}
        block = multiple if len(group) > multiple else 1
        counts = sorted({math.ceil(count / block) * block for count in wanted}, reverse=True)
        masks = [group.best(score(group, count), count) for count in counts if count < len(group)]
        masks = [mask for mask in masks if not bool(mask.all())]
        ways = dict.fromkeys(Pruned(group.name, tuple(mask.tolist()), block) for mask in masks)
        if ways:
            shares = tuple(_shares(group, way.mask) for way in ways)
            found.append(Part(group.name, tuple(ways), shares))
    return found, groups.refused


def _shares(group: Group, keep: Tensor) -> dict[str, Share]:
    """What is left of the layers that make or read channels of a group."""
    left = {port.layer.name: _share(group, port, keep) for port in group.producers}
    for port in group.consumers:
        if not port.layer.is_depthwise:
            share = left.get(port.layer.name, 1.0)
            left[port.layer.name] = share * _share(group, port, keep)
    return {name: Share(share, share) for name, share in left.items()}


def _share(group: Group, port: Port, keep: Tensor) -> float:
    return float(_stays(group, port, keep).double().mean())


def _stays(group: Group, port: Port, keep: Tensor) -> Bool[Tensor, " channels"]:
    """Which channels of one side of a layer stay."""
    place = group.places(port.classes)
    return (place < 0) | keep[place]


def group_of(network: Network, part: Part) -> Group | None:
    """The group that a part is, or None if it is a layer.

    Args:
        network: The network.
        part: The part.
    """
    is_layer = isinstance(part.ways[0], Factored)
    return None if is_layer else channel_groups(network)[part.name]


def changed_layers(network: Network, part: Part, group: Group | None) -> dict[str, Layer]:
    """The layers whose weights show what the ways of a part do, by name.

    Args:
        network: The network.
        part: The part.
        group: What `group_of` gives.
    """
    if group is None:
        return {layer.name: layer for layer in layers(network) if layer.name == part.name}
    read = [port.layer for port in group.consumers if not port.layer.is_depthwise]
    return {layer.name: layer for layer in read}


def weights_of(
    changed: Mapping[str, Layer],
    way: Way,
    group: Group | None,
    moments: Mapping[str, Moments],
    options: Refit,
) -> dict[str, Changed]:
    """The weights that show what a way does: layer name → weight, and what to add to the bias.

    Args:
        changed: What `changed_layers` gives.
        way: The way.
        group: What `group_of` gives.
        moments: Data of the layers that change; without, nothing is fitted.
        options: How it is fitted.
    """
    if isinstance(way, Factored):
        known = moments.get(way.layer)
        fitted = fit_chain(changed[way.layer], way.method, way.ranks, known, options)
        return {way.layer: (compose(fitted.chain), fitted.shift)}
    assert group is not None
    found: dict[str, Changed] = {}
    for port in group.consumers:
        if not port.layer.is_depthwise:
            stays = _stays(group, port, way.mask).to(port.layer.weight.device)
            known = moments.get(port.layer.name)
            found[port.layer.name] = _without(port.layer, stays, known, options.damping)
    return found


def _without(layer: Layer, stays: Tensor, moments: Moments | None, damping: float) -> Changed:
    """A layer that no longer reads some channels; with data, the others make up for them."""
    weight = layer.grouped_weight().detach()
    of_group = stays.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 3))
    cut = weight * of_group
    if moments is None or layer.groups > 1 or layer.is_transposed:
        return layer.ungrouped(cut), None
    inside = of_group.expand_as(weight[:, :1]).flatten(2)[0, 0]
    fitted = cut.flatten(2)
    free = moments.centered()
    gram, target = free.gram[:, inside][..., inside], free.target[..., inside]
    part = Quadratic(gram, target, free.energy, free.uncertain)
    fitted[..., inside] = best_weights(part.damped(fitted[..., inside], damping))
    shift = best_bias(fitted, moments.inputs, moments.outputs)[0]
    return layer.ungrouped(fitted.reshape(weight.shape)), shift
