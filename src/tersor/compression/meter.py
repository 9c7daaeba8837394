"""What a budget counts: MACs, parameters, or the time that layers take.

MACs and parameters are counted from shapes. Time is looked up, call by call, in a network of the
same shapes whose weights mean nothing: for two convolutions of few channels it is no less than for
the one that they replace, and 13 channels may take longer than 16.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, fx

from tersor.compression.chain import Site, replace_by_chain
from tersor.compression.factorize import Factorization, method_of, rank_for
from tersor.compression.prune import prune_groups
from tersor.compression.ways import Factored, Part, Pruned, Way
from tersor.core.ranks import shapes_of
from tersor.graph.calls import Call, calls
from tersor.graph.costs import Cost, costs, total
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network
from tersor.graph.shapes import shapes

Unit = Literal["macs", "parameters"]
Clock = Callable[[Iterable[Call]], Mapping[Call, int]]  # nanoseconds of calls
Left = Mapping[Way, Mapping[str, float]]  # way → layer → share of its cost


@dataclass(frozen=True)
class Counted:
    """MACs or parameters: every channel counts.

    Attributes:
        unit: Which of them.
    """

    unit: Unit = "macs"

    def each(self, network: Network) -> dict[str, int]:
        """Layer name → what it costs.

        Args:
            network: The network.
        """
        return {name: getattr(cost, self.unit) for name, cost in costs(network).items()}

    def left(self, network: Network, parts: Sequence[Part]) -> Left:  # noqa: ARG002
        """What ways leave of layers, each alone.

        Args:
            network: The network.
            parts: Its parts.
        """
        pairs = (pair for part in parts for pair in zip(part.ways, part.shares, strict=True))
        return {
            way: {name: getattr(share, self.unit) for name, share in shares.items()}
            for way, shares in pairs
        }

    def cost(self, network: Network, ways: Sequence[Way]) -> int:
        """What a network costs with some ways, exactly.

        Args:
            network: The network; it stays as it is.
            ways: The ways.
        """
        return getattr(cost_of(network, ways), self.unit)


@dataclass(frozen=True)
class Timed:
    """Nanoseconds for one sample; only some numbers of channels are faster than others.

    Attributes:
        clock: Times calls.
        known: What ways leave, kept for the next budget.
    """

    clock: Clock
    known: dict[Way, Mapping[str, float]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def unit(self) -> str:
        """The unit."""
        return "nanoseconds"

    def each(self, network: Network) -> dict[str, int]:
        """As `Counted.each`.

        Args:
            network: Idem.
        """
        return self._summed([(Layer(node, network).name, call) for node, call in calls(network)])

    def left(self, network: Network, parts: Sequence[Part]) -> Left:
        """As `Counted.left`; the network stays as it is.

        Args:
            network: Idem.
            parts: Idem.
        """
        new = [part for part in parts if not self.known.keys() >= set(part.ways)]
        if not new:
            return self.known
        found: dict[Way, list[tuple[str, Call]]] = {}
        for ways in _rounds(new):
            outlined = outline(network, ways)
            for way, part in ways.items():
                names = part.shares[part.ways.index(way)]
                found[way] = [(name, call) for name, call in outlined if name in names]
        self.clock(call for pairs in found.values() for _, call in pairs)
        whole = self.each(network)
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
    """Ways that can be looked at together: those of different layers, and each of a group alone."""
    layers = [part for part in parts if isinstance(part.ways[0], Factored)]
    most = max((len(part.ways) for part in layers), default=0)
    found = [
        {part.ways[number]: part for part in layers if number < len(part.ways)}
        for number in range(most)
    ]
    groups = [part for part in parts if part not in layers]
    return found + [{way: part} for part in groups for way in part.ways]


def outline(network: Network, ways: Iterable[Way]) -> list[tuple[str, Call]]:
    """The calls of a network with some ways, and the name of the layer that each was or is.

    Args:
        network: The network; it stays as it is.
        ways: The ways.
    """
    edited, names = hollow(network, ways)
    return [(names[node], call) for node, call in calls(edited)]


def hollow(network: Network, ways: Iterable[Way]) -> tuple[Network, dict[fx.Node, str]]:
    """A network as some ways shape it. The weights of chains mean nothing.

    Args:
        network: The network; it stays as it is.
        ways: The ways.

    Returns:
        The network, and for each call of a layer the name of the layer that it was or is.
    """
    ways, network = list(ways), network.copy()
    masks = masks_of(ways)
    if masks:
        prune_groups(network, masks)
    names = {layer.node: layer.name for layer in layers(network)}
    generator = torch.Generator().manual_seed(0)
    for layer, choice in choices(network, ways, bool(masks)):
        for each in replace_by_chain(layer, _factors(layer, choice, generator)):
            names[each.node] = names[layer.node]
    network.finish()
    return network, names


def _factors(layer: Layer, choice: Factorization, generator: torch.Generator) -> list[Tensor]:
    """Random ones: equal ones might be computed once only. Values stay as large as they are."""
    shape, like = tuple(layer.weight.shape), layer.weight.detach()
    sizes = shapes_of(method_of(layer, choice.method), shape, choice.ranks)
    found = [torch.randn(size, generator=generator).to(like) for size in sizes]
    return [factor / (factor.numel() / len(factor)) ** 0.5 for factor in found]


def cost_of(network: Network, ways: Sequence[Way]) -> Cost:
    """What a network costs with some ways, exactly.

    Args:
        network: The network; it stays as it is.
        ways: The ways.
    """
    masks = masks_of(ways)
    if masks:
        network = network.copy()
        prune_groups(network, masks)
    seen, found = shapes(network), costs(network)
    for layer, choice in choices(network, ways, bool(masks), seen):
        site = Site(layer, seen)
        shape = tuple(layer.weight.shape)
        factors = shapes_of(method_of(layer, choice.method), shape, choice.ranks)
        found[layer.name] = Cost(site.chain_macs(factors), site.chain_parameters(factors))
    return total(found.values())


def masks_of(ways: Iterable[Way]) -> dict[str, Tensor]:
    """Name of a group → which of its units stay, for `prune_groups`.

    Args:
        ways: Some ways.
    """
    return {way.group: way.mask for way in ways if isinstance(way, Pruned)}


def choices(
    network: Network,
    ways: Iterable[Way],
    is_pruned: bool,
    seen: dict[fx.Node, object] | None = None,
) -> list[tuple[Layer, Factorization]]:
    """The layers that become chains. Where channels have gone, ranks keep their share of the MACs.

    Args:
        network: The network, pruned if some ways do that.
        ways: The ways.
        is_pruned: Do they?
        seen: What `shapes` gives for the network, to spare a run of it.
    """
    chains = {way.layer: way for way in ways if isinstance(way, Factored)}
    found = [layer for layer in layers(network) if layer.name in chains]
    seen = shapes(network) if seen is None and is_pruned and found else seen
    pairs = ((layer, _adapted(layer, chains[layer.name], is_pruned, seen)) for layer in found)
    return [(layer, choice) for layer, choice in pairs if choice is not None]


def _adapted(
    layer: Layer, way: Factored, is_pruned: bool, seen: dict[fx.Node, object] | None
) -> Factorization | None:
    if not is_pruned:
        return way.choice
    ranks = rank_for(layer, way.method, way.ratio, seen, way.multiple)
    return None if ranks is None else Factorization(way.method, ranks)
