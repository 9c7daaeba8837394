"""Prices of calls that include the noise of what is rounded; see `tersor.quant.placement.kept`."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, fx

from tersor.graph.layers import Layer
from tersor.graph.network import Network
from tersor.quant.placement.gains import NEVER, Calls, Costs, Ends
from tersor.quant.placement.integer_values import Flow
from tersor.quant.scheme import Scheme
from tersor.quant.speed import ONNXRUNTIME

_FLOAT_WEIGHT = 0.05  # share of a layer's time in integers that it costs to be in float at all


@dataclass(frozen=True)
class Noise:
    """The noise that each quantizer alone adds to each part of the outputs.

    Attributes:
        values: Name of an activation → noise over signal, for each part.
        weights: Name of a layer's call → the same for its weights.
    """

    values: Mapping[str, Float[Tensor, " parts"]]
    weights: Mapping[str, Float[Tensor, " parts"]]


class NoisyCalls(Calls):
    """Calls whose price in integers includes the noise of what is rounded.

    Attributes:
        worth: Nanoseconds that all noise together is worth.
        floating: Nanoseconds of all calls in floating point.
    """

    def __init__(
        self,
        network: Network,
        flow: Flow,
        layers: Collection[Layer],
        scheme: Scheme,
        noise: Noise,
    ) -> None:
        super().__init__(network, flow, layers, scheme.speed or ONNXRUNTIME)
        self._of, self.worth = noise, 0.0
        self._values: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._lines: tuple[Ends, Ends, Costs, Costs] | None = None
        self.floating = self.total(frozenset())

    def set_rates(self, wanted: Float[Tensor, " parts"]) -> None:
        """Weigh the parts: noise counts as a share of what is wanted, in the worst part."""
        self._values = {k: float((x / wanted).max()) for k, x in self._of.values.items()}
        self._weights = {k: float((x / wanted).max()) for k, x in self._of.weights.items()}
        total = sum(self._values.values()) + sum(self._weights.values())
        self._values = {k: x / total for k, x in self._values.items()}
        self._weights = {k: x / total for k, x in self._weights.items()}
        self._lines = None

    def arrays(self, vertices: dict[fx.Node, int]) -> tuple[Ends, Ends, Costs]:
        """What `edges` says: every cost is linear in what noise is worth."""
        if self._lines is None:
            worth, self.worth = self.worth, 0.0
            _, _, least = super().arrays(vertices)
            self.worth = 1.0
            starts, ends, costs = super().arrays(vertices)
            self.worth, self._lines = worth, (starts, ends, least, costs - least)
        starts, ends, least, more = self._lines
        return starts, ends, least + self.worth * more

    def prices(self, node: fx.Node) -> tuple[float, float]:
        """As of `Calls`; in integers, with the noise of the weights of a layer.

        Args:
            node: The call.
        """
        floating, integer = super().prices(node)
        layer = _FLOAT_WEIGHT * integer if node in self.layers else 0.0
        weights = self._weights.get(node.name, 0.0) if node in self.layers else 0.0
        return max(floating - integer, 0.0) + layer, self.worth * weights

    def edges(self, vertices: dict[fx.Node, int]) -> Iterator[tuple[int, int, float]]:
        """As of `Calls`, and those of the noise of each value that is rounded.

        Args:
            vertices: As for `Calls.edges`.
        """
        yield from super().edges(vertices)
        count, noisy = len(vertices), set[int]()
        for node, vertex in vertices.items():
            origin = self.flow.origin(self.flow.ends_in(node) or node)
            rounded = vertices[origin] + 3 * count
            yield vertex + count, rounded, NEVER
            if self.is_free(node) and self.computes(node) and not self._writes_floats(node):
                yield vertex, rounded, NEVER
            if rounded not in noisy:
                noisy.add(rounded)
                yield rounded, 1, self.worth * self._values.get(origin.name, 0.0)

    def _writes_floats(self, node: fx.Node) -> bool:
        target = node.target
        return target in self.flow.scheme.matmuls or (
            node in self.layers and target in self.flow.scheme.float_outputs
        )
