"""Divides a network into parts, and lists the ways to compress each of them.

A part is a layer that can become a chain of factors, a group of channels that can be pruned, or a
residual branch that can be left out.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor

from tersor.compression.counts import Counts
from tersor.compression.factorize import method_of, ranks_at, refusal
from tersor.compression.groups import Group
from tersor.compression.residual_branches import branches
from tersor.compression.ways import Dropped, Factored, Pruned, Way
from tersor.core.ranks import Ranks
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Skipped
from tersor.names import Method

Scorer = Callable[[Group, int], Tensor]  # group, number of units to keep → score of each unit


class Share(NamedTuple):
    """The shares of a layer's cost that remain."""

    macs: float
    parameters: float


@dataclass(frozen=True)
class Part:
    """A part of a network with all ways to compress it.

    Attributes:
        name: The name of the layer, of the group, or of the last layer of the branch.
        ways: The ways to compress it.
        shares: For each way, the remaining share of each layer that it changes, by name.
        reads: The layers that read a group: name → the unit of each of the inputs, −1 for those of
            other groups.
    """

    name: str
    ways: tuple[Way, ...]
    shares: tuple[dict[str, Share], ...]
    reads: Mapping[str, Int[Tensor, " inputs"]] = field(default_factory=dict, compare=False)

    @property
    def changes(self) -> Collection[str]:
        """The layers whose weights simulate its ways."""
        return self.reads or (self.name,)


def layer_parts(
    counts: Counts, methods: Sequence[Method], ratios: Sequence[float], multiple: int = 1
) -> tuple[list[Part], list[Skipped]]:
    """List the layers that can become chains, and those that cannot.

    Args:
        counts: The counts of the network.
        methods: The decompositions to try.
        ratios: Shares of a layer's MACs that remain.
        multiple: Ranks are multiples of this number; see `rank_for`.
    """
    found, refused = [], []
    for layer in layers(counts.network):
        reason = refusal(layer)
        part = None if reason else _layer_part(counts, layer, methods, ratios, multiple)
        if part is not None:
            found.append(part)
        else:
            why = reason or "it is too small: no chain is cheaper"
            refused.append(Skipped(layer.name, "factorize", why))
    return found, refused


def _layer_part(
    counts: Counts, layer: Layer, methods: Sequence[Method], ratios: Sequence[float], multiple: int
) -> Part | None:
    sizes, weight = counts.sizes[layer.name], layer.weight.detach()
    ways: list[Factored] = []
    known: set[tuple[Method, Ranks]] = set()
    kinds: dict[Method, None] = dict.fromkeys(method_of(layer, method) for method in methods)
    for method in kinds:
        for ratio in ratios:
            ranks = ranks_at(sizes, weight, method, ratio, multiple)
            if ranks is not None and (method, ranks) not in known:
                known.add((method, ranks))
                ways.append(Factored(layer.name, method, ratio, ranks, multiple))
    shares = tuple(_shares(counts, way, [layer.name]) for way in ways)
    return Part(layer.name, tuple(ways), shares) if ways else None


def group_parts(
    counts: Counts, score: Scorer, ratios: Sequence[float], multiple: int = 1
) -> tuple[list[Part], list[Skipped]]:
    """List the groups of channels that can be pruned, and the layers whose channels must stay.

    Args:
        counts: The counts of the network.
        score: Scores the units of a group; those with the lowest scores are pruned.
        ratios: Shares of the units that stay.
        multiple: A group with more units than this keeps a multiple of it.
    """
    found = []
    for group in counts.groups.found:
        wanted = {max(1, round(ratio * len(group))) for ratio in ratios}
        block = group.block(multiple)
        numbers = sorted({math.ceil(count / block) * block for count in wanted}, reverse=True)
        masks = [group.best(score(group, count), count) for count in numbers if count < len(group)]
        masks = [mask for mask in masks if not bool(mask.all())]
        ways = dict.fromkeys(Pruned(group.name, tuple(mask.tolist()), block) for mask in masks)
        if ways:
            reads = {port.layer.name: group.places(port.classes) for port in group.readers}
            shares = tuple(_shares(counts, way, group.layers) for way in ways)
            found.append(Part(group.name, tuple(ways), shares, reads))
    return found, counts.groups.refused


def branch_parts(counts: Counts) -> list[Part]:
    """List the residual branches that can be left out.

    Args:
        counts: The counts of the network.
    """
    found = []
    for branch in branches(counts.network):
        way = Dropped(branch)
        found.append(Part(branch.last, (way,), (_shares(counts, way, branch.layers),)))
    return found


def _shares(counts: Counts, way: Way, names: Sequence[str]) -> dict[str, Share]:
    """The remaining shares of the layers that a way changes."""
    after, each = counts.after([way]), counts.each
    return {
        name: Share(
            after[name].macs / each[name].macs, after[name].parameters / each[name].parameters
        )
        for name in names
    }
