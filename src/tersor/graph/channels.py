"""Which channels of a network move together.

Every value gets a tensor of labels, of the value's own shape, that says which channel each element
belongs to. Data movement (reshape, transpose, chunk, concat, channel shuffle, flatten) then needs
no rules: the op itself is run on the labels. An addition makes the labels of its two sides
equal; a layer reads labels on its input side and starts new ones on its output side. What remains
is a partition of all channels into classes that can only be scaled, or removed, together.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx

from tersor.graph.layers import Layer, argument, is_layer
from tersor.graph.network import Network, source
from tersor.graph.shapes import shapes

aten = torch.ops.aten

# f(s·x) = s·f(x) for s > 0, element by element.
EQUIVARIANT = {
    aten.relu.default,
    aten.leaky_relu.default,
    aten.prelu.default,
    aten.dropout.default,
    aten.neg.default,
    aten.abs.default,
}
# The same, and each output element reads one channel only (axis 1 stays the channel axis).
SPATIAL = {
    aten.max_pool1d.default,
    aten.max_pool2d.default,
    aten.max_pool3d.default,
    aten.avg_pool1d.default,
    aten.avg_pool2d.default,
    aten.avg_pool3d.default,
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.adaptive_avg_pool3d.default,
    aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest3d.vec,
    aten.upsample_linear1d.vec,
    aten.upsample_bilinear2d.vec,
    aten.upsample_bicubic2d.vec,
}
# Data movement: run on the labels as it is.
MOVEMENT = {
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.permute.default,
    aten.transpose.int,
    aten.t.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.expand.default,
    aten.slice.Tensor,
    aten.select.int,
    aten.narrow.default,
    aten.chunk.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.unbind.int,
    aten.cat.default,
    aten.stack.default,
    aten.pixel_shuffle.default,
    aten.channel_shuffle.default,
    aten.flip.default,
    aten.roll.default,
    operator.getitem,
}
# Scalar clips: not equivariant with a fixed bound, but with a bound per channel.
CLIPPED = {aten.relu6.default, aten.hardtanh.default, aten.clamp.default, aten.clamp_max.default}
# The second factor of a product that is squeezed into a fixed range: its scale is fixed.
GATES = {aten.sigmoid.default, aten.hardsigmoid.default, aten.softmax.int, aten.tanh.default}


@dataclass(frozen=True)
class Port:
    """One side of a layer: the class of each of its output or input channels."""

    layer: Layer
    classes: Int[Tensor, " channels"]


@dataclass(frozen=True)
class Clip:
    """A clipped activation inside a class: its node, and the class of each channel (axis 1)."""

    node: fx.Node
    classes: Int[Tensor, " channels"]


@dataclass
class Channels:
    """The partition of all channels of a network.

    Attributes:
        count: Number of classes.
        producers: Output sides of layers.
        consumers: Input sides of layers.
        clips: Clipped activations on the way.
        frozen: Class → why it cannot be rescaled. Missing: it can.
    """

    count: int
    producers: list[Port] = field(default_factory=list)
    consumers: list[Port] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    frozen: dict[int, str] = field(default_factory=dict)


def channels(network: Network) -> Channels:
    """Partition the channels of all layers into classes that can only be rescaled together."""
    return _Tracer(network).run()


def clip_bounds(node: fx.Node) -> tuple[float, float] | None:
    """Lower and upper bound of a ReLU-like clip with scalar bounds; None for other ops."""
    infinity = float("inf")
    if node.target is aten.relu.default:
        return 0.0, infinity
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    if node.target is aten.hardtanh.default:
        return float(argument(node, "min_val")), float(argument(node, "max_val"))
    if node.target is aten.clamp.default:
        low, high = argument(node, "min"), argument(node, "max")
        return -infinity if low is None else float(low), infinity if high is None else float(high)
    return None


class _Tracer:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.shapes = shapes(network)
        self.labels: dict[fx.Node, Any] = {}
        self.next_label = 0
        self.pairs: list[Tensor] = []
        self.frozen: dict[int, str] = {}
        self.ports: dict[str, list[tuple[Any, Tensor]]] = {"out": [], "in": [], "clip": []}

    def run(self) -> Channels:
        for node in self.network.graph.nodes:
            if node.op == "output":
                self._freeze_inputs(node, "it is an output of the network")
            elif node.op == "call_module":
                self.labels[node] = self.labels[source(node)]
            elif node.op == "call_function" and isinstance(self.shapes[node], torch.Size | list | tuple):
                self._visit(node)
            elif isinstance(self.shapes[node], torch.Size):
                self._fresh(node, "it is an input of the network" if node.op == "placeholder" else None)
        return self._result()

    def _visit(self, node: fx.Node) -> None:
        if is_layer(node):
            self._visit_layer(Layer(node, self.network))
        elif node.target in EQUIVARIANT or self._is_scaling(node):
            self.labels[node] = self.labels[node.args[0]].expand(self.shapes[node])
        elif node.target in CLIPPED or self._is_channel_clip(node):
            self._visit_clip(node)
        elif node.target in SPATIAL or self._is_zero_pad(node):
            self._visit_spatial(node)
        elif node.target in MOVEMENT:
            self._move(node)
        elif node.target is aten.mean.dim:
            labels = self.labels[node.args[0]]
            self.labels[node] = labels.amax(node.args[1], keepdim=bool(argument(node, "keepdim")))
            self._unite(labels, labels.amax(node.args[1], keepdim=True))
        elif node.target in (aten.add.Tensor, aten.sub.Tensor) and self._both_computed(node):
            left, right = (self.labels[arg] for arg in node.args[:2])
            self._unite(left, right)
            self.labels[node] = torch.broadcast_tensors(left, right)[0]
        elif node.target is aten.mul.Tensor and self._gate(node) is not None:
            self.labels[node] = self.labels[self._gate(node)].expand(self.shapes[node])
        else:
            reason = f"{node.target} ({node.name}) does not commute with a scale"
            self._freeze_inputs(node, reason)
            self._fresh(node, reason)

    def _visit_layer(self, layer: Layer) -> None:
        node = layer.node
        labels = self._along(self.labels[layer.input], layer.channel_axis)
        if labels is None:
            self._freeze(self.labels[layer.input], f"{layer.name} mixes its channels")
        else:
            self.ports["in"].append((layer, labels))
        shape = self.shapes[node]
        axis = layer.channel_axis % len(shape)
        fresh = torch.arange(self.next_label, self.next_label + shape[axis])
        self.next_label += shape[axis]
        self.labels[node] = fresh.reshape(-1, *[1] * (len(shape) - axis - 1)).expand(shape)
        self.ports["out"].append((layer, fresh))
        if layer.weight_node.op != "get_attr" or not layer.has_own_weight:
            reason = f"the weight of {layer.name} is computed or shared between calls"
            self._freeze(fresh, reason)
            self._freeze(self.labels[layer.input], reason)

    def _visit_clip(self, node: fx.Node) -> None:
        labels = self.labels[node.args[0]]
        self.labels[node] = labels
        along = self._along(labels, 1)
        bounds = clip_bounds(node)
        if along is None or (bounds is not None and bounds[0] not in (0.0, -float("inf"))):
            self._freeze(labels, f"the lower bound of {node.name} is not zero")
        else:
            self.ports["clip"].append((node, along))

    def _visit_spatial(self, node: fx.Node) -> None:
        labels = self.labels[node.args[0]]
        per_map = labels[(slice(None), slice(None), *[slice(0, 1)] * (labels.ndim - 2))]
        self._unite(labels, per_map)
        self.labels[node] = per_map.expand(self.shapes[node])

    def _move(self, node: fx.Node) -> None:
        def value(arg: fx.Node) -> Any:
            return self.labels.get(arg, self.shapes[arg])

        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        args = fx.node.map_arg(node.args, value)
        self.labels[node] = target(*args, **fx.node.map_arg(node.kwargs, value))

    def _is_scaling(self, node: fx.Node) -> bool:
        """A product with, or division by, something that does not depend on the input."""
        if node.target not in (aten.mul.Tensor, aten.div.Tensor):
            return False
        first, second = node.args[:2]
        constant = not isinstance(second, fx.Node) or source(second).op == "get_attr"
        return constant and isinstance(first, fx.Node) and source(first).op != "get_attr"

    def _is_channel_clip(self, node: fx.Node) -> bool:
        return node.target is aten.minimum.default and source(node.args[1]).op == "get_attr"

    def _is_zero_pad(self, node: fx.Node) -> bool:
        if node.target is aten.constant_pad_nd.default:
            return not argument(node, "value") and len(node.args[1]) <= 2 * (len(self.shapes[node]) - 2)
        if node.target is aten.pad.default:
            padded = len(node.args[1]) // 2
            zero = not argument(node, "value") or argument(node, "mode") != "constant"
            return zero and padded <= len(self.shapes[node]) - 2
        return False

    def _both_computed(self, node: fx.Node) -> bool:
        return all(isinstance(a, fx.Node) and source(a).op != "get_attr" for a in node.args[:2])

    def _gate(self, node: fx.Node) -> fx.Node | None:
        """The factor of a product whose other factor is a gate."""
        if not self._both_computed(node):
            return None
        left, right = node.args[:2]
        if source(right).target in GATES and self.shapes[left] == self.shapes[node]:
            return left
        if source(left).target in GATES and self.shapes[right] == self.shapes[node]:
            return right
        return None

    def _fresh(self, node: fx.Node, reason: str | None) -> None:
        """One new label for the whole value: nothing is known of its channels."""

        def label(shape: Any) -> Any:
            if not isinstance(shape, torch.Size):
                return [label(one) for one in shape]
            self.next_label += 1
            if reason is not None:
                self.frozen[self.next_label - 1] = reason
            return torch.tensor(self.next_label - 1).expand(shape)

        self.labels[node] = label(self.shapes[node])

    def _freeze_inputs(self, node: fx.Node, reason: str) -> None:
        for argument_node in node.all_input_nodes:
            labels = self.labels.get(argument_node)
            for one in labels if isinstance(labels, list | tuple) else [labels]:
                if one is not None:
                    self._freeze(one, reason)

    def _freeze(self, labels: Tensor, reason: str) -> None:
        for label in _compact(labels).unique().tolist():
            self.frozen.setdefault(label, reason)

    def _unite(self, left: Tensor, right: Tensor) -> None:
        stacked = torch.stack(torch.broadcast_tensors(_compact(left), _compact(right)))
        pairs = stacked.flatten(1).unique(dim=1)
        self.pairs.append(pairs[:, pairs[0] != pairs[1]])

    def _along(self, labels: Tensor, axis: int) -> Tensor | None:
        """The labels along one axis, or None if they also vary along another."""
        rows = _compact(labels.movedim(axis, 0), keep_first=True).flatten(1)
        return rows[:, 0].clone() if bool((rows == rows[:, :1]).all()) else None

    def _result(self) -> Channels:
        pairs = torch.cat(self.pairs, dim=1).numpy() if self.pairs else np.zeros((2, 0), np.int64)
        graph = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), [self.next_label] * 2)
        count, found = connected_components(graph, directed=False)
        classes = torch.from_numpy(found).long()
        result = Channels(int(count))
        result.producers = [Port(layer, classes[ids]) for layer, ids in self.ports["out"]]
        result.consumers = [Port(layer, classes[ids]) for layer, ids in self.ports["in"]]
        result.clips = [Clip(node, classes[ids]) for node, ids in self.ports["clip"]]
        for label, reason in self.frozen.items():
            result.frozen.setdefault(int(classes[label]), reason)
        return result


def _compact(labels: Tensor, keep_first: bool = False) -> Tensor:
    """Axes along which a label tensor is merely expanded, cut to size 1."""
    for axis in range(int(keep_first), labels.ndim):
        if labels.stride(axis) == 0 and labels.shape[axis] > 1:
            labels = labels.narrow(axis, 0, 1)
    return labels
