"""Finds the values that a target computes in integers, in one walk against the data flow.

A value must be integers if an integer kernel reads or writes it. A kernel that ends in a ReLU
writes the value after the ReLU. Ops that only move values pass this requirement on to their input.
Everything else stays in floating point. A value that an op in floating point makes is there in
both forms, so an addition in floating point, as around the layers of a transformer, gets it as it
was.
"""

import math
from collections.abc import Collection, Sequence

import torch
from torch import fx

from tersor.graph.network import Network
from tersor.graph.nodes import argument, computed_from_inputs, operand, source
from tersor.graph.ops import DROPOUTS, PADS, clip_bounds, pads_with_constant
from tersor.quant.scheme import Scheme

aten = torch.ops.aten
_MAX_POOLS = {aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default}


class Flow:
    """The values of a network, as one target runtime sees them.

    Attributes:
        values: All floating-point tensors that depend on an input, in execution order.
        needed: The values that the target computes in integers.
    """

    def __init__(
        self,
        network: Network,
        scheme: Scheme,
        layers: Collection[fx.Node],
        excluded: Collection[fx.Node] = (),
        values: Sequence[fx.Node] | None = None,
    ) -> None:
        """Analyse a network without quantizers.

        Args:
            network: The network.
            scheme: The target.
            layers: The calls of weighted ops that are to be quantized.
            excluded: Calls that stay in floating point.
            values: The floating-point tensors that depend on an input, in execution order, if they
                are known.
        """
        self.scheme = scheme
        self.excluded = excluded
        self.layers = layers
        self.values = _values(network) if values is None else list(values)
        self._known = set(self.values)
        self.needed: set[fx.Node] = set()
        for node in reversed(self.values):
            if self._is_written_in_integers(node) or self._is_read_in_integers(node):
                self.needed.add(node)

    def is_quantized(self, node: fx.Node) -> bool:
        """Whether this value needs a quantizer."""
        parts = isinstance(node.meta.get("val"), list | tuple)  # they are quantized one by one
        return node in self.needed and not (parts or node.target in DROPOUTS or self.ends_in(node))

    def origin(self, node: fx.Node) -> fx.Node:
        """Find the value whose numbers this one holds, if the ops in between only move them.

        A stored tensor that is repeated for each sample is its own origin: it has no quantizer.
        """
        while node.target in DROPOUTS or self.is_moved(node):
            before = source(operand(node))
            if before not in self._known:
                break
            node = before
        return node

    def ends_in(self, node: fx.Node) -> fx.Node | None:
        """The activation that this op's kernel ends in, if any."""
        user = next(iter(node.users), None)
        return user if user is not None and self.fused_with(user) is node else None

    def fused_with(self, node: fx.Node) -> fx.Node | None:
        """The op whose kernel also computes this activation."""
        bounds = clip_bounds(node) if self._is_one_of(node, self.scheme.fused) else None
        if bounds is None or not (bounds[0] == 0 or self.scheme.any_clip):
            return None
        producer = operand(node)
        has_kernel = producer in self.layers or self._is_integer(producer)
        return producer if has_kernel and len(producer.users) == 1 else None

    def has_kernel(self, node: fx.Node) -> bool:
        """Whether the target has an integer kernel for this call, or moves integers with it."""
        if node in self.layers or self._is_integer(node) or self.fused_with(node) is not None:
            return True
        if self._is_one_of(node, self.scheme.matmuls):
            return self._has_computed_inputs(node)
        return node.target in DROPOUTS or self.is_moved(node)

    def _is_written_in_integers(self, node: fx.Node) -> bool:
        """Whether this is the result of a layer that cannot write floating point."""
        layer = self.fused_with(node) or node
        return layer in self.layers and layer.target not in self.scheme.float_outputs

    def _is_read_in_integers(self, node: fx.Node) -> bool:
        return any(self.reads(user, node) for user in node.users)

    def reads_floats(self, user: fx.Node, value: fx.Node) -> bool:
        """Whether `user` gets this value as it was before it was rounded for others."""
        is_sum = user.target is aten.add.Tensor  # others may be one node of a file with several
        return is_sum and not (self.has_kernel(value) or self.reads(user, value))

    def reads(self, user: fx.Node, value: fx.Node) -> bool:
        """Whether `user` reads this value as integers."""
        if user in self.layers:
            return operand(user) is value
        if self._is_one_of(user, self.scheme.matmuls):
            return self._has_computed_inputs(user)
        if user not in self.needed:
            return False
        if self._is_integer(user):
            return self._accumulator(user) is not value
        return user.target in DROPOUTS or self.is_moved(user) or self.fused_with(user) is value

    def _accumulator(self, node: fx.Node) -> fx.Node | None:
        """The layer that adds a residual before it rounds, if this value is such a sum."""
        if not self.scheme.fused_add or node.target is not aten.add.Tensor:
            return None
        for first, second in ((0, 1), (1, 0)):
            layer, residual = operand(node, first), operand(node, second)
            if layer in self.layers and layer is not residual and len(layer.users) == 1:
                is_whole = layer.meta["val"].shape == source(residual).meta["val"].shape
                return layer if is_whole else None
        return None

    def _is_one_of(self, node: fx.Node, ops: Collection[object]) -> bool:
        return node.target in ops and node not in self.excluded

    def _is_integer(self, node: fx.Node) -> bool:
        """Whether this op, called in this way, has an integer kernel."""
        is_known = self._is_one_of(node, self.scheme.integer_ops)
        if not is_known or not self._has_computed_inputs(node):
            return False
        if node.target is aten.mean.dim:
            return _is_global_pool(node)
        if node.target in (aten.add.Tensor, aten.mul.Tensor):
            both = all(isinstance(arg, fx.Node) for arg in node.args[:2])
            return both and bool(node.kwargs.get("alpha", 1) == 1)
        return True

    def _has_computed_inputs(self, node: fx.Node) -> bool:
        return {source(arg) for arg in node.all_input_nodes} <= self._known

    def is_moved(self, node: fx.Node) -> bool:
        """Whether every element of this value is a copy from the first argument, or zero."""
        if not self._is_one_of(node, self.scheme.pass_through):
            return False
        if node.target in PADS:
            return not (pads_with_constant(node) and argument(node, "value")) or _is_window(node)
        first = source(operand(node))
        parts = isinstance(first.meta.get("val"), list | tuple)
        return not parts or first.target in self.scheme.pass_through


def _values(network: Network) -> list[fx.Node]:
    """Floating-point tensors, and lists of them, that depend on an input."""
    found = computed_from_inputs(network.graph)
    return [node for node in found if _is_float(node.meta.get("val"))]


def _is_float(value: object) -> bool:
    first = value[0] if isinstance(value, list | tuple) and value else value
    return isinstance(first, torch.Tensor) and first.is_floating_point()


def _is_window(node: fx.Node) -> bool:
    """Whether a value is padded with -∞ for maxima only: any grid has a least value for that."""
    is_least = argument(node, "value") == -math.inf
    return is_least and all(user.target in _MAX_POOLS for user in node.users)


def _is_global_pool(node: fx.Node) -> bool:
    """Whether this is a mean over all axes after the channels, at least two."""
    rank = operand(node).meta["val"].ndim
    axes = argument(node, "dim") or range(rank)
    return rank > 2 and sorted(axis % rank for axis in axes) == list(range(2, rank))
