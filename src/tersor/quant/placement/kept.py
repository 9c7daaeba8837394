"""Chooses the calls that stay in floating point so that the outputs have little noise.

    Σ t(call in its form) + Σ t(conversion of a value) + λ · Σ noise of what is rounded  →  min

Every call is either computed in integers or not, as in `tersor.quant.placement.gains`, and the
minimum cut is the best of all mixtures for one λ. A value is rounded if any call reads or writes it
in integers, so its noise hangs on a helping vertex, and goes only once all these calls are in
floating point. A call that is faster in floating point gains nothing here: as few layers as
possible change.
"""

from collections.abc import Callable, Collection
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.graph.layers import Layer
from tersor.graph.network import Network, Skipped
from tersor.quant.placement.gains import SHORTEST
from tersor.quant.placement.integer_values import Flow
from tersor.quant.placement.noisy_calls import Noise, NoisyCalls
from tersor.quant.scheme import Scheme

Kept = frozenset[str]  # names of the calls that stay in floating point
NOTHING: Kept = frozenset()
ACCURATE = "the outputs are accurate with it in floating point; see the step tolerance"
_WORTH = (-30.0, 14.0)  # what all noise may be worth: powers of 2, in times of the float network
_PRECISION = 0.05  # of such a power


def leave_accurate(
    network: Network, kept: Collection[str], chosen: list[Layer], left_out: set[fx.Node]
) -> list[Layer]:
    """Find the layers that stay in floating point for accuracy, and record them.

    Args:
        network: The network, without quantizers.
        kept: Names of the calls.
        chosen: The layers that the target would compute in integers.
        left_out: Calls that stay in floating point; these calls are added.
    """
    found = [layer for layer in chosen if layer.node.name in kept]
    left_out |= {node for node in network.graph.nodes if node.name in kept}
    network.records += [Skipped(layer.name, "place", ACCURATE) for layer in found]
    return found


class Mixtures:
    """The mixtures of integers and floats that a network can be computed in."""

    def __init__(
        self,
        network: Network,
        scheme: Scheme,
        layers: Collection[Layer],
        excluded: Collection[fx.Node],
        noise: Noise,
    ) -> None:
        """Prepare the cuts.

        Args:
            network: The network, without quantizers.
            scheme: The target.
            layers: The layers that it computes in integers.
            excluded: Calls that stay in floating point in any case.
            noise: The noise of every quantizer.
        """
        self._network, self._scheme, self._noise = network, scheme, noise
        self._layers, self._excluded = list(layers), set(excluded)
        self._known: dict[Kept, _Seen] = {}
        self._calls = NoisyCalls(network, self._flow(NOTHING), self._layers, scheme, noise)
        self._free = [node for node in self._calls.flow.values if self._calls.is_free(node)]

    @property
    def count(self) -> int:
        """The number of layers that the target computes in integers."""
        return len(self._layers)

    def noise(self, kept: Kept) -> Float[Tensor, " parts"]:
        """The noise of everything that is rounded, for each part.

        Args:
            kept: The calls in floating point.
        """
        values = self._noise.values
        found = [values[name] for name in self.rounded(kept) if name in values]
        return torch.stack([self.weight_noise(kept), *found]).sum(0)

    def weight_noise(self, kept: Kept) -> Float[Tensor, " parts"]:
        """The noise of the weights that are rounded, for each part.

        Args:
            kept: The calls in floating point.
        """
        values, weights = self._noise.values, self._noise.weights
        names = [layer.node.name for layer in self._layers if layer.node.name not in kept]
        found = [weights[name] for name in names if name in weights]
        empty = torch.zeros_like(next(iter([*values.values(), *weights.values()])))
        return torch.stack([empty, *found]).sum(0)

    def rounded(self, kept: Kept) -> tuple[str, ...]:
        """The names of the activations that are rounded.

        Args:
            kept: The calls in floating point.
        """
        return self._seen(kept).origins

    def time(self, kept: Kept) -> float:
        """The predicted time of a mixture, as a share of that of the float network.

        Args:
            kept: The calls in floating point.
        """
        chosen = {node for node in self._free if node.name not in kept}
        idle = {node for node, writer in self._writers.items() if writer.name in kept}
        return self._calls.total(chosen - idle) / self._calls.floating

    @cached_property
    def _writers(self) -> dict[fx.Node, fx.Node]:
        """Call that only moves values → the call whose kernel computes their numbers."""
        flow = self._calls.flow
        moved = [node for node in self._free if not self._calls.computes(node)]
        origins = {node: flow.origin(node) for node in moved}
        return {node: flow.fused_with(origin) or origin for node, origin in origins.items()}

    def layers(self, kept: Kept) -> list[Layer]:
        """The layers in floating point, in order.

        Args:
            kept: The calls in floating point.
        """
        return [layer for layer in self._layers if layer.node.name in kept]

    def extra_time(self, layer: Layer) -> float:
        """What a layer costs more in floating point, as a share of the float network's time.

        Args:
            layer: The layer.
        """
        floating, integer = (self._calls.time(layer.node, form) for form in (False, True))
        return (floating - integer) / self._calls.floating

    def least(self, wanted: Float[Tensor, " parts"], slowest: float | None = None) -> Kept:
        """The cheapest mixture whose noise is at most what is wanted, or else the least noisy.

        Args:
            wanted: The noise that each part may have.
            slowest: Largest predicted time, as a share of that of the float network. It does not
                count where the float network takes hardly any time.
        """
        if self._calls.floating < SHORTEST:
            slowest = None
        self._calls.set_rates(wanted)
        found = _first(self._at, lambda kept: bool((self.noise(kept) <= wanted).all()))
        if slowest is None or self.time(found) <= slowest:
            return self.pruned(found)
        found = _first(self._at, lambda kept: self.time(kept) > slowest, before=True)
        return self.pruned(found)

    def pruned(self, kept: Kept) -> Kept:
        """Leave out calls that change nothing, as nothing around them is an integer anyway.

        Args:
            kept: The calls in floating point.
        """
        weighted = {layer.node.name for layer in self._layers}
        seen = self._seen(kept)
        others = {node.name: node for node in self._network.graph.nodes if node.name in kept}
        for name in sorted(kept - weighted):
            if self._is_apart(others[name], seen):
                kept -= {name}
            elif (fewer := self._seen(kept - {name})).values == seen.values:
                kept, seen = kept - {name}, fewer
        return kept

    def _is_apart(self, node: fx.Node, seen: "_Seen") -> bool:
        """Whether a call in floating point could be in integers, and nothing would be rounded."""
        near = {node, *node.users}
        return node.target not in self._scheme.fused and near.isdisjoint(seen.needed)

    def _at(self, exponent: float) -> Kept:
        self._calls.worth = self._calls.floating * 2.0**exponent
        chosen = self._calls.best(self._free)
        left = [n for n in self._free if n not in chosen and self._calls.computes(n)]
        kept = frozenset(node.name for node in left)
        every = frozenset(layer.node.name for layer in self._layers)
        if every <= kept:  # one layer has to stay: the one that adds least noise
            kept -= {min(sorted(every), key=lambda name: float(self.noise(kept - {name}).sum()))}
        return kept

    def _seen(self, kept: Kept) -> "_Seen":
        """What is rounded; searches ask for the same mixtures again and again."""
        if kept not in self._known:
            flow = self._flow(kept)
            values = frozenset(node for node in flow.values if flow.is_quantized(node))
            origins = sorted({flow.origin(node).name for node in values})
            self._known[kept] = _Seen(values, tuple(origins), frozenset(flow.needed))
        return self._known[kept]

    def _flow(self, kept: Kept) -> Flow:
        left_out = self._excluded | {n for n in self._network.graph.nodes if n.name in kept}
        layers = {layer.node for layer in self._layers} - left_out
        values = self._calls.flow.values if kept else None
        return Flow(self._network, self._scheme, layers, left_out, values)


class _Seen(NamedTuple):
    """The values that a mixture rounds, the names of those whose numbers they hold, and more.

    Attributes:
        values: The values that are rounded.
        origins: The names of those whose numbers they hold.
        needed: All values that are integers, also those inside of kernels.
    """

    values: frozenset[fx.Node]
    origins: tuple[str, ...]
    needed: frozenset[fx.Node]


def _first(
    at: Callable[[float], Kept], holds: Callable[[Kept], bool], before: bool = False
) -> Kept:
    """The mixture of the least worth of noise for which something holds, or the last before it."""
    low, high = _WORTH
    below, above = NOTHING, at(high)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        kept = at(middle)
        if holds(kept):
            high, above = middle, kept
        else:
            low, below = middle, kept
    return below if before else above
