"""Finds the calls that a runtime computes faster in floating point than in integers.

Every call is either computed in integers or not. A value that is written in one form and read in
the other has to be converted. What all calls and conversions take together is least at a minimum
cut of a graph whose two sides are the two forms:

    Σ t(call in its form) + Σ t(conversion of a value)  →  min

A conversion serves all readers of a value, so it is an edge of its own with a helping vertex.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import fx

from tersor.graph.costs import batch_size, layer_macs
from tersor.graph.layers import Layer
from tersor.graph.network import Network
from tersor.graph.nodes import argument, operand
from tersor.graph.shapes import shapes
from tersor.quant.placement.integer_values import Flow
from tersor.quant.speed import Kernel, Speed

aten = torch.ops.aten

#: A network that takes less is not looked at: there calls cost more than what they compute.
SHORTEST = 3e5  # nanoseconds
#: Integers stay where leaving them would gain less: the model of times is a rough one.
LEAST_GAIN = 0.25
# An average pooling between integers becomes integers when onnxruntime loads the file, in any case.
_POOLINGS = frozenset({aten.max_pool1d.default, aten.max_pool2d.default})
_MEANS = frozenset(
    {aten.mean.dim, aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default}
)
_FUNCTIONS = frozenset({aten.sigmoid.default, aten.leaky_relu.default})
_FEW = 8  # channels
Ends = Int[np.ndarray, " edges"]
Costs = Float[np.ndarray, " edges"]
#: More than any call takes.
NEVER = 1e12


@dataclass(frozen=True)
class Times:
    """Predicted nanoseconds of the calls that could be integers, with all conversions.

    Attributes:
        floating: None of them is.
        integer: All of them are.
        best: The best mixture.
        slower: The calls that stay in floating point in the best mixture.
    """

    floating: float
    integer: float
    best: float
    slower: frozenset[fx.Node]

    @property
    def is_worth_it(self) -> bool:
        """Whether the best mixture is faster than integers everywhere by more than a trifle."""
        return self.floating >= SHORTEST and self.best < (1 - LEAST_GAIN) * self.integer


def times(network: Network, flow: Flow, layers: Collection[Layer], speed: Speed) -> Times:
    """Predict the times of a network in floating point, in integers, and in the best mixture.

    Args:
        network: The network, without quantizers.
        flow: What the target computes in integers.
        layers: The layers that it computes in integers.
        speed: The times of its kernels.
    """
    calls = Calls(network, flow, layers, speed)
    free = [node for node in flow.values if calls.is_free(node)]
    chosen = calls.best(free)
    slower = frozenset(node for node in free if node not in chosen and calls.computes(node))
    everywhere = calls.total(frozenset(free))
    return Times(calls.total(frozenset()), everywhere, calls.total(chosen), slower)


class Calls:
    """The calls of a network, with their times in either form.

    Attributes:
        flow: What the target computes in integers.
        layers: The layers that it computes in integers, by their nodes.
    """

    def __init__(
        self, network: Network, flow: Flow, layers: Collection[Layer], speed: Speed
    ) -> None:
        """Analyse a network; for the arguments see `times`."""
        self.flow, self.speed = flow, speed
        self.shapes, self.batch = shapes(network), batch_size(network)
        self.layers = {layer.node: layer for layer in layers}
        self.known = set(flow.values)

    def is_free(self, node: fx.Node) -> bool:
        """Whether a call may be computed in either form."""
        is_asked = node in self.flow.needed or node in self.layers
        return (is_asked or self._is_matmul(node)) and self.flow.has_kernel(node)

    def _is_matmul(self, node: fx.Node) -> bool:
        return node.target in self.flow.scheme.matmuls

    def computes(self, node: fx.Node) -> bool:
        """Whether a call is more than a part of another kernel, or a way to move numbers."""
        return self.flow.fused_with(node) is None and not self.flow.is_moved(node)

    def time(self, node: fx.Node, is_integer: bool) -> float:
        """Nanoseconds of a call."""
        kernel = self.speed.integer if is_integer else self.speed.floating
        layer = self.layers.get(node)
        if layer is not None:
            return self._layer_time(layer, kernel)
        if node.target in _POOLINGS:
            return kernel.pooled * self._pooled(node)
        if node.target in _MEANS:
            return kernel.moved * self.numbers(operand(node))
        return self.numbers(node) * self._rate(node, kernel)

    def prices(self, node: fx.Node) -> tuple[float, float]:
        """What the cut pays for a call in floating point, and in integers."""
        return self.time(node, is_integer=False), self.time(node, is_integer=True)

    def _layer_time(self, layer: Layer, kernel: Kernel) -> float:
        rate = kernel.depthwise if layer.is_depthwise else kernel.mac
        written = self.numbers(layer.node)
        spread = 0.0
        _, inputs, *places = self.shapes[layer.weight_node]
        if prod(places) > 1 and not layer.is_depthwise:
            collected = kernel.scattered if inputs < _FEW else kernel.gathered
            spread = (
                collected * prod(places) * written / self.shapes[layer.node][layer.channel_axis]
            )
        macs = layer_macs(layer, self.shapes, self.batch)
        return self.speed.call + rate * macs + kernel.written * written + spread

    def _rate(self, node: fx.Node, kernel: Kernel) -> float:
        if self.flow.fused_with(node) is not None:
            return 0.0  # part of the kernel before it
        if node.target is aten.add.Tensor:
            return kernel.add
        if node.target in _FUNCTIONS:
            return kernel.function
        return kernel.moved if self.flow.is_moved(node) else kernel.product

    def _pooled(self, node: fx.Node) -> float:
        """The numbers that a pooling reads, overlaps counted again."""
        return self.numbers(node) * prod(argument(node, "kernel_size"))

    def pooled_anew(self, node: fx.Node) -> float:
        """What it costs more if a pooling of integers reads what was a float just before."""
        return self.speed.pooled_anew * self._pooled(node)

    def numbers(self, node: fx.Node) -> float:
        """Numbers of a value for one sample."""
        shape = self.shapes[node]
        parts = [shape] if isinstance(shape, torch.Size) else list(shape)
        return sum(prod(part) for part in parts) / self.batch

    def readers(self, node: fx.Node) -> list[fx.Node]:
        """The calls that read a value, as one of those that can be converted."""
        return [user for user in node.users if user in self.known or user.op == "output"]

    def conversions(self, node: fx.Node) -> tuple[float, float]:
        """Nanoseconds of converting a value to integers, and back."""
        layer = self.layers.get(node)
        writes_floats = layer is not None and node.target in self.flow.scheme.float_outputs
        numbers, call = self.numbers(node), self.speed.call
        back = 0.0 if writes_floats else call + self.speed.dequantize * numbers
        return call + self.speed.quantize * numbers, back

    def total(self, chosen: Collection[fx.Node]) -> float:
        """Nanoseconds of a mixture, in which these calls are computed in integers."""
        found = 0.0
        for node, costs in self._costs.items():
            is_integer = node in chosen
            found += costs.times[is_integer]
            if is_integer and costs.pooled_anew and operand(node) not in chosen:
                found += costs.pooled_anew
            if any((reader in chosen) != is_integer for reader in costs.readers):
                found += costs.conversions[is_integer]
        return found

    @cached_property
    def _costs(self) -> "dict[fx.Node, _Costs]":
        """What each value costs in either form; searches ask for many mixtures."""
        found = dict[fx.Node, _Costs]()
        for node in self.flow.values:
            is_free, is_pooling = self.is_free(node), node.target in _POOLINGS
            times = (self.time(node, False), self.time(node, True)) if is_free else (0.0, 0.0)
            anew = self.pooled_anew(node) if is_free and is_pooling else 0.0
            found[node] = _Costs(times, anew, self.conversions(node), self.readers(node))
        return found

    def best(self, free: list[fx.Node]) -> frozenset[fx.Node]:
        """The calls that are computed in integers when all takes least: one side of the cut."""
        vertices = {node: 2 + i for i, node in enumerate(self.flow.values)}
        reached = side(*self.arrays(vertices), 2 + 4 * len(vertices))
        return frozenset(node for node in free if vertices[node] in reached)

    def arrays(self, vertices: dict[fx.Node, int]) -> tuple[Ends, Ends, Costs]:
        """What `edges` says, as three arrays.

        Args:
            vertices: As for `edges`.
        """
        starts, ends, costs = zip(*self.edges(vertices), strict=True)
        return np.array(starts), np.array(ends), np.array(costs)

    def edges(self, vertices: dict[fx.Node, int]) -> Iterator[tuple[int, int, float]]:
        """Edges of the graph: 0 is the side of integers, 1 that of floats.

        Args:
            vertices: Number of each value; its helping vertices lie multiples of their count above.
        """
        count = len(vertices)
        for node, vertex in vertices.items():
            if self.is_free(node):
                floating, integer = self.prices(node)
                yield 0, vertex, floating
                yield vertex, 1, integer
                if node.target in _POOLINGS:
                    yield vertex, vertices[operand(node)], self.pooled_anew(node)
            else:
                yield vertex, 1, NEVER
            forward, back = self.conversions(node)
            to_integers, to_floats = vertex + count, vertex + 2 * count
            yield to_integers, vertex, forward
            yield vertex, to_floats, back
            for reader in self.readers(node):
                end = vertices.get(reader, 1)
                yield end, to_integers, NEVER
                yield to_floats, end, NEVER


class _Costs(NamedTuple):
    """Nanoseconds of a call and of the conversion of its value, in floating point and integers."""

    times: tuple[float, float]
    pooled_anew: float
    conversions: tuple[float, float]
    readers: list[fx.Node]


def side(starts: Ends, ends: Ends, costs: Costs, size: int) -> set[int]:
    """The vertices on the side of vertex 0 of a minimum cut between 0 and 1.

    Args:
        starts: The vertex at which each edge starts.
        ends: The vertex at which it ends.
        costs: What it costs to cut it.
        size: The number of vertices.
    """
    costs = np.where(np.isnan(costs), 0.0, costs)  # where outputs are NaN no noise can be told
    unit = max(1.0, float(costs[costs < NEVER].sum()) / 2**28)
    whole = np.minimum(np.round(costs / unit), 2**29).astype(np.int32)
    graph = coo_matrix((whole, (starts, ends)), (size, size)).tocsr()
    left = graph - maximum_flow(graph, 0, 1).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    return {int(i) for i in breadth_first_order(left, 0, return_predecessors=False)}
