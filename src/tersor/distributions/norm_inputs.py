"""What a BatchNorm says of its input: DFQ, arXiv 1906.04721, §5, read backwards.

    x, which a BatchNorm reads:     E[x] = μ,  Var[x] = σ², its running statistics
    [x, y], moved channels:         each part has the moments of its places in the whole
    z = x + y, of which x is known: E[y] = E[z] − E[x],  Var[y] = Var[z] − Var[x]
    z = x + y, both unknown:        each has half of the mean and half of the variance

Differs from the paper in: the paper takes what a BatchNorm says of its output, and so needs one
behind every layer. Where it sits behind a concatenation or a sum, the layers in front of that have
none of their own. Their results are found here, back through any number of such operations.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from tersor.distributions.layout_rules import MOVES
from tersor.distributions.op_rules import COPIES, visit
from tersor.distributions.walk import Walk
from tersor.graph.batchnorm import BatchNorm, batch_norms
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Gaussian, Network
from tersor.graph.nodes import argument, call, operand, source
from tersor.graph.ops import WEIGHTED
from tersor.graph.shapes import shapes

aten = torch.ops.aten
_ADD = aten.add.Tensor
#: They repeat values, or move between them, which takes little of the variance.
_RESIZES = {
    aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest3d.vec,
    aten.upsample_linear1d.vec,
    aten.upsample_bilinear2d.vec,
}
#: Least variance of a summand, as a share of the sum's. A range that is too wide costs a bit; one
#: that is too narrow, as the summands were not independent, costs the network.
_LEAST = 1 / 4


def read_norms(network: Network) -> None:
    """Give every layer the statistics of the BatchNorms that read its result, directly or not.

    Best before BatchNorms are folded, which are read here.

    Args:
        network: Its statistics are added to; what is known already stays.
    """
    norms = [norm for norm in batch_norms(network) if norm.refusal is None and not _is_usual(norm)]
    if not norms:
        return
    before = set(network.statistics)
    walk = Walk(network, 6.0, shapes(network))
    search = _Search(walk)
    with torch.no_grad():
        for norm in reversed(norms):
            search.tell(norm.input, _read_by(norm))
        known = -1
        while known < len(network.statistics):  # what is learned of a value may be a sum itself
            known = len(network.statistics)
            search.go_forward()
    layers = {node.name for node in network.nodes() if node.target in WEIGHTED}
    for name in set(network.statistics) - before - layers:
        del network.statistics[name]


def _is_usual(norm: BatchNorm) -> bool:
    """Whether it is folded into the layer that it reads, and describes the result."""
    return is_layer(norm.input) and len(norm.input.users) == 1


def _read_by(norm: BatchNorm) -> Gaussian:
    mean, var = (
        norm.network.tensor(argument(norm.node, name)).detach().clone()
        for name in ("running_mean", "running_var")
    )
    return Gaussian(mean, var.sqrt())


class _Search:
    """Passes on what is known of values to the values that they are made of."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def tell(self, node: fx.Node, known: Gaussian, axis: int = 1) -> None:
        """Note what a value is like, and what follows for what it is made of.

        Args:
            node: What computes the value.
            known: What is known of it.
            axis: The axis on which its channels lie.
        """
        node, statistics = source(node), self._walk.network.statistics
        if node.name in statistics or node.op != "call_function" or axis != self._axis(node):
            return
        statistics[node.name] = known
        if node.target in COPIES | _RESIZES:
            self.tell(operand(node), known)
        elif node.target in MOVES:
            self._tell_parts(node, known)

    def go_forward(self) -> None:
        """Visit all nodes in order, and divide what is known of sums among the summands."""
        walk = self._walk
        for node in walk.network.nodes():
            if node.op == "get_attr":
                walk.values[node] = walk.network.tensor(node)
            elif node.op == "call_function":
                known = walk.network.statistics.get(node.name)
                if known is not None and node.target is _ADD and not node.kwargs:
                    self._divide(node, known)
                walk.values[node] = visit(walk, node)

    def _tell_parts(self, node: fx.Node, whole: Gaussian) -> None:
        """Run the moves on channel numbers, and see where each channel has gone."""
        first: dict[fx.Node, int] = {}
        try:
            moved = self._labels(node, first)
        except LookupError:
            return
        rows = moved.movedim(1, 0).flatten(1)
        if not bool((rows == rows[:, :1]).all()):
            return  # channels do not lie on the second axis any more
        for part, start in first.items():
            numbers = torch.arange(start, start + self._channels(part))
            if (found := _gathered(whole, rows[:, 0] == numbers[:, None])) is not None:
                self.tell(part, found, self._axis(part))

    def _labels(self, arg: fx.Node, first: dict[fx.Node, int]) -> Any:
        """The channel of each element, from the first one of each value that is not moved on."""
        node, shape = source(arg), self._walk.shape(arg)
        if not isinstance(shape, torch.Size):
            return shape  # a number
        if node.target in MOVES:
            label = partial(self._labels, first=first)
            moved = call(node, map_arg(node.args, label), map_arg(node.kwargs, label))
            if isinstance(moved, Tensor):
                return moved
        if len(shape) < 2 or node.target in MOVES:
            raise LookupError
        start = first.setdefault(node, sum(map(self._channels, first)))
        numbers = torch.arange(start, start + self._channels(node))
        return numbers.view(-1, *[1] * (len(shape) - self._axis(node) - 1)).expand(shape)

    def _axis(self, node: fx.Node) -> int:
        if node.target not in WEIGHTED:
            return 1
        return Layer(node, self._walk.network).channel_axis % len(self._walk.shape(node))

    def _channels(self, node: fx.Node) -> int:
        return self._walk.shape(node)[self._axis(node)]

    def _divide(self, node: fx.Node, total: Gaussian) -> None:
        parts = [source(arg) for arg in node.args[:2] if isinstance(arg, fx.Node)]
        shape = self._walk.shapes[node]
        if len(set(parts)) != 2 or any(self._walk.shapes[part] != shape for part in parts):
            return
        mean, var = total.mean, total.std.square()
        unknown = []
        for part in parts:
            known = self._walk.of(part)
            if known is None or known.guess or known.axis != 1:
                unknown.append(part)
            else:
                mean, var = mean - known.mean, var - known.var
        for part in unknown:
            least = _LEAST * total.std.square()
            self.tell(
                part, Gaussian(mean / len(unknown), (var / len(unknown)).maximum(least).sqrt())
            )
            self._walk.values[part] = visit(self._walk, part)


def _gathered(whole: Gaussian, places: Tensor) -> Gaussian | None:
    """The moments of channels, each of which is found at some places of a whole.

    Args:
        whole: The moments at each place.
        places: Which places hold a channel, for each channel.
    """
    if not bool(places.any(1).all()):
        return None  # some channels are not in it
    shares = places.to(whole.mean)
    shares /= shares.sum(1, keepdim=True)
    mean = shares @ whole.mean
    square = shares @ (whole.std.square() + whole.mean.square())
    return Gaussian(mean, (square - mean.square()).clamp(min=0).sqrt())
