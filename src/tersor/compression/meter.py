"""Measures what a budget limits: MACs, parameters, or the latency of layers.

MACs and parameters are counted from shapes. Latency is measured call by call, in a network of the
same shapes with arbitrary weights. It does not follow from MACs: two convolutions with few channels
may take as long as the one that they replace, and 13 channels may take longer than 16.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, fx

from tersor.compression.chain import replace_by_chain
from tersor.compression.counts import Counts
from tersor.compression.factorize import Factorization, method_of
from tersor.compression.parts import Part
from tersor.compression.prune import prune_groups
from tersor.compression.residual_branches import leave_out
from tersor.compression.ways import Dropped, Factored, Way, dropped_in, masks_of
from tersor.core.ranks import shapes_of
from tersor.graph.calls import Call, calls
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network

Unit = Literal["macs", "parameters"]
Clock = Callable[[Iterable[Call]], Mapping[Call, int]]  # the latency of calls in nanoseconds
SharesLeft = Mapping[Way, Mapping[str, float]]  # way → layer → share of its cost that remains


@dataclass(frozen=True)
class Counted:
    """Measures MACs or parameters, to which every channel contributes.

    Attributes:
        counts: The counts of the network.
        unit: Whether to count MACs or parameters.
    """

    counts: Counts
    unit: Unit = "macs"

    @property
    def each(self) -> dict[str, int]:
        """Layer name → its cost."""
        return {name: getattr(cost, self.unit) for name, cost in self.counts.each.items()}

    def left(self, parts: Sequence[Part]) -> SharesLeft:
        """The share of each layer's cost that remains with each way alone.

        Args:
            parts: Parts of the network.
        """
        pairs = (pair for part in parts for pair in zip(part.ways, part.shares, strict=True))
        return {
            way: {name: getattr(share, self.unit) for name, share in shares.items()}
            for way, shares in pairs
        }

    def cost(self, ways: Sequence[Way]) -> int:
        """Count the exact cost of the network with some ways.

        Args:
            ways: The ways.
        """
        return getattr(self.counts.cost(ways), self.unit)


@dataclass(frozen=True)
class Timed:
    """Measures nanoseconds for one sample; fewer channels are not always faster.

    Attributes:
        counts: The counts of the network.
        clock: Measures the latency of calls.
        known: The remaining shares of ways that have been measured, for the next budget.
    """

    counts: Counts
    clock: Clock
    known: dict[Way, Mapping[str, float]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def each(self) -> dict[str, int]:
        """As `Counted.each`."""
        network = self.counts.network
        return self._summed([(Layer(node, network).name, call) for node, call in calls(network)])

    def left(self, parts: Sequence[Part]) -> SharesLeft:
        """As `Counted.left`; the network is not changed.

        Args:
            parts: Parts of the network.
        """
        for part in parts:
            for way, shares in zip(part.ways, part.shares, strict=True):
                if isinstance(way, Dropped):
                    self.known[way] = dict.fromkeys(shares, 0.0)
        new = [part for part in parts if not self.known.keys() >= set(part.ways)]
        if not new:
            return self.known
        found: dict[Way, list[tuple[str, Call]]] = {}
        for ways in _rounds(new):
            outlined = outline(self.counts, ways)
            for way, part in ways.items():
                names = part.shares[part.ways.index(way)]
                found[way] = [(name, call) for name, call in outlined if name in names]
        self.clock(call for pairs in found.values() for _, call in pairs)
        whole = self.each
        for way, pairs in found.items():
            self.known[way] = {name: t / whole[name] for name, t in self._summed(pairs).items()}
        return self.known

    def _summed(self, pairs: Sequence[tuple[str, Call]]) -> dict[str, int]:
        times, found = self.clock([call for _, call in pairs]), dict[str, int]()
        for name, call in pairs:
            found[name] = found.get(name, 0) + times[call]
        return found


Meter = Counted | Timed


def _rounds(parts: Sequence[Part]) -> list[dict[Way, Part]]:
    """Collect ways that can be measured together: those of different layers, or one of a group."""
    layers = [part for part in parts if isinstance(part.ways[0], Factored)]
    most = max((len(part.ways) for part in layers), default=0)
    found = [
        {part.ways[number]: part for part in layers if number < len(part.ways)}
        for number in range(most)
    ]
    groups = [part for part in parts if not isinstance(part.ways[0], Factored)]
    return found + [{way: part} for part in groups for way in part.ways]


def outline(counts: Counts, ways: Iterable[Way]) -> list[tuple[str, Call]]:
    """List the calls of a network with some ways, each with the name of its original layer.

    Args:
        counts: The counts of the network.
        ways: The ways.
    """
    edited, names = hollow(counts, ways)
    return [(names[node], call) for node, call in calls(edited)]


def hollow(counts: Counts, ways: Iterable[Way]) -> tuple[Network, dict[fx.Node, str]]:
    """Build a network with the shapes that some ways produce. Weights of chains are random.

    Args:
        counts: The counts of the network, which is not changed.
        ways: The ways.

    Returns:
        The network, and for each call of a layer the name of its original layer.
    """
    ways, network = list(ways), counts.network.copy()
    masks, choices = masks_of(ways), counts.choices(ways)
    if masks:
        prune_groups(network, masks, groups=counts.groups.in_copy(network))
    leave_out(network, dropped_in(ways))
    names = {layer.node: layer.name for layer in layers(network)}
    generator = torch.Generator().manual_seed(0)
    for layer in [layer for layer in layers(network) if layer.name in choices]:
        factors = _factors(layer, choices[layer.name], generator)
        for each in replace_by_chain(layer, factors):
            names[each.node] = names[layer.node]
    network.finish()
    return network, names


def _factors(layer: Layer, choice: Factorization, generator: torch.Generator) -> list[Tensor]:
    """Draw random factors, since a runtime may merge equal ones; they keep the size of outputs."""
    shape, like = tuple(layer.weight.shape), layer.weight.detach()
    sizes = shapes_of(method_of(layer, choice.method), shape, choice.ranks)
    found = [torch.randn(size, generator=generator).to(like) for size in sizes]
    return [factor / (factor.numel() / len(factor)) ** 0.5 for factor in found]
