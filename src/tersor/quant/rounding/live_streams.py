"""The two streams of a walk over the layers, which keep little of what passes through them.

What a quantizer has rounded is kept as integers, which take a quarter of the memory. A value that
only one node reads is not kept on the way there, but computed batch by batch when it is read. In
the float network, the outputs of layers are kept, and activations are computed from them. What a
layer makes of a much narrower value is computed anew, not kept, where it would add to the most that
is held at a time: in inverted bottlenecks these are the widest values.

Convolutions read integers where these are kept and the processor is faster with them. The channels
of pictures lie next to each other, as kernels like it.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from tersor.core.codes import Codes, codes
from tersor.data.walk.observe import Batch
from tersor.data.walk.per_batch import AsKept, Computed
from tersor.data.walk.shelf import Shelf
from tersor.data.walk.stream import Stream
from tersor.graph.layers import is_layer
from tersor.graph.network import Network
from tersor.graph.nodes import readers, source
from tersor.graph.shapes import shapes
from tersor.quant.placement.integer_layers import integer_layer
from tersor.quant.placement.quantizer import FakeQuantize, quantizer_at

_WIDER = 2.0  # times what it is computed from: such an output of a layer is not kept
_PICTURES = 4  # axes of values whose channels lie next to each other
_LONGEST = 2  # layers in the float network that are computed anew to read a value; 1 in the other


class LiveStream(Stream):
    """All batches in the float network, or in the quantized one, where integers are kept."""

    def __init__(
        self, network: Network, batches: Sequence[Batch], shelf: Shelf, simulate: bool
    ) -> None:
        """Start from the inputs.

        Args:
            network: The network; nodes that have not yet run may change.
            batches: Inputs, as `(args, kwargs)`.
            shelf: Keeps the values.
            simulate: Whether quantizers round; else they have no effect.
        """
        super().__init__(network, batches, simulate, shelf)
        self._passing = _passing(network, coded=simulate)
        self.values = {name: Computed(_channels_last, x) for name, x in self.values.items()}

    def _keeps(self, node: fx.Node) -> bool:
        return node not in self._passing

    def _computed(self, node: fx.Node) -> Computed:
        compute = integer_layer(node, self.network) if self.simulate else None
        if compute is None:
            return super()._computed(node)
        first, *others = node.all_input_nodes
        return Computed(compute, AsKept(self.of(first)), *map(self.of, others))

    def _function(self, node: fx.Node) -> Callable[..., Any]:
        quantizer = quantizer_at(self.network, node) if self.simulate else None
        if (
            quantizer is None
            or not quantizer.enabled
            or node in self._passing
            or source(node).op == "get_attr"
        ):
            return super()._function(node)
        return partial(_coded, quantizer)


def _channels_last(value: Any) -> Any:
    is_picture = isinstance(value, Tensor) and value.ndim == _PICTURES
    return value.contiguous(memory_format=torch.channels_last) if is_picture else value


def _coded(quantizer: FakeQuantize, value: Tensor) -> Codes | Tensor:
    parts = quantizer.scale, quantizer.zero_point, quantizer.grid, quantizer.axis
    found = codes(value, *parts)
    return quantizer(value) if found is None else found


def _passing(network: Network, coded: bool) -> set[fx.Node]:
    """The nodes whose values are computed whenever they are read.

    Args:
        network: The network.
        coded: Whether rounded values are kept, else the outputs of layers.
    """
    sizes = _sizes(network)
    most = 1 if coded else _LONGEST
    found, depth, below = set[fx.Node](), dict[fx.Node, int](), dict[fx.Node, int]()
    for node in network.graph.nodes:
        reads = [arg for arg in node.all_input_nodes if arg in found]
        below[node] = sum(below[x] if x in reads else sizes[x] for x in node.all_input_nodes)
        depth[node] = max((depth[arg] for arg in reads), default=0) + is_layer(node)
        is_wide = depth[node] <= most and sizes[node] > _WIDER * below[node]
        is_short = not _is_kept_at(node, coded) and (coded or sizes[node] >= below[node])
        is_alias = node.op == "call_module" and not coded
        is_read_once = len(node.users if coded else readers(node)) == 1
        if is_alias or (is_read_once and (is_short or is_wide)):
            found.add(node)
    return found if coded else found - _within_the_most(found, sizes)


def _within_the_most(passing: set[fx.Node], sizes: dict[fx.Node, int]) -> set[fx.Node]:
    """Outputs of layers that can be kept although they are wide: more is held at another time.

    Args:
        passing: The nodes whose values would not be kept.
        sizes: The numbers of each value.
    """
    nodes = list(sizes)
    place = {node: index for index, node in enumerate(nodes)}
    last = dict[fx.Node, int]()
    for node in reversed(nodes):
        ends = (last[user] if user in passing else place[user] for user in node.users)
        last[node] = max(ends, default=place[node])
    held = [0] * len(nodes)

    def hold(node: fx.Node) -> None:
        for index in range(place[node], last[node] + 1):
            held[index] += sizes[node]

    for node in nodes:
        if node not in passing:
            hold(node)
    most, found = max(held, default=0), set[fx.Node]()
    for node in filter(is_layer, nodes):
        beside = max(held[place[node] : last[node] + 1])
        if node in passing and beside + sizes[node] <= most:
            hold(node)
            found.add(node)
    return found


def _is_kept_at(node: fx.Node, coded: bool) -> bool:
    """Whether a value that one node reads is kept unless it is wide."""
    if not coded:
        return is_layer(node)
    return node.op == "call_module" or any(map(is_layer, node.users))


def _sizes(network: Network) -> dict[fx.Node, int]:
    """The numbers of each value that is computed from an input; inputs are there anyway."""
    found = {
        node: math.prod(shape) if isinstance(shape, torch.Size) else 0
        for node, shape in shapes(network).items()
    }
    return {
        node: 0 if source(node).op in ("get_attr", "placeholder") else found.get(node, 0)
        for node in network.graph.nodes
    }
