"""Calls of weighted ATen ops, and one canonical shape for all their weights.

Whatever the op, `Layer.weight` is seen as `[groups, out, in, *kernel]` with `out` and `in` counted
per group. Depthwise, grouped, transposed and linear layers then need no special cases: output
channels are the first two axes, input channels are the first and the third.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, fx

from tersor.graph.network import Network, free_name
from tersor.graph.nodes import argument, call, operand, overload, readers, set_argument, source
from tersor.graph.ops import LINEAR, TRANSPOSED, WEIGHTED


def per_axis(layer: "Layer", name: str) -> tuple[int, ...]:
    """A setting of a convolution, a number for each axis of the kernel; one stands for all.

    Args:
        layer: The convolution.
        name: Of the setting: stride, dilation, or a padding that is no word.
    """
    sizes = argument(layer.node, name)
    return tuple(sizes) * (layer.kernel_dims if len(sizes) == 1 else 1)


@dataclass(frozen=True)
class Layer:
    """One call of a weighted op.

    Attributes:
        node: The call in the graph.
        network: The network that it belongs to.
    """

    node: fx.Node
    network: Network

    @property
    def name(self) -> str:
        """The user's name of the layer, taken from its weight; else the name of the node."""
        node = self.weight_node
        if node.op == "get_attr":
            return str(node.target).removesuffix(".weight")
        return self.node.name

    @property
    def kernel_dims(self) -> int:
        """Number of kernel axes: 0 for linear, 2 for a 2-d convolution."""
        return WEIGHTED[overload(self.node)]

    @property
    def is_transposed(self) -> bool:
        """True for transposed convolutions, whose weight is `[in, out / groups, *kernel]`."""
        return self.node.target in TRANSPOSED

    @property
    def is_linear(self) -> bool:
        """True for linear layers, whose channels are the last axis."""
        return self.node.target in LINEAR

    @property
    def input(self) -> fx.Node:
        """The node that computes the input, seen through quantizers."""
        return source(operand(self.node))

    @property
    def weight_node(self) -> fx.Node:
        """The node that delivers the weight, seen through quantizers: `get_attr` or computed."""
        return source(argument(self.node, "weight"))

    @property
    def bias_node(self) -> fx.Node | None:
        """The node that delivers the bias, seen through quantizers, if there is one."""
        node = argument(self.node, "bias")
        return None if node is None else source(node)

    @property
    def groups(self) -> int:
        """Number of groups; 1 for linear."""
        return 1 if self.is_linear else argument(self.node, "groups")

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in input and output, counted from the end: -1 for linear."""
        return -1 - self.kernel_dims

    @property
    def out_axis(self) -> int:
        """The axis of the output channels in the stored weight."""
        return 1 if self.is_transposed else 0

    @property
    def is_depthwise(self) -> bool:
        """True if each output channel reads one input channel."""
        return self.groups > 1 and self.grouped_weight().shape[2] == 1

    @property
    def pads_with_zeros(self) -> bool:
        """True if some outputs read zeros around the input instead of the input."""
        if self.is_linear or self.is_transposed:
            return self.is_transposed
        padding = argument(self.node, "padding")
        if isinstance(padding, str):
            return padding == "same" and any(size > 1 for size in self.weight.shape[2:])
        return any(size > 0 for size in padding)

    @property
    def has_stored_weight(self) -> bool:
        """True if the weight is stored, False if it is computed."""
        return self.weight_node.op == "get_attr"

    @property
    def has_own_weight(self) -> bool:
        """True if the weight is stored and nothing else reads it."""
        return self.has_stored_weight and readers(self.weight_node) == [self.node]

    @property
    def computed(self) -> str | None:
        """Why no pass can edit the weight or the bias: one of them is computed. None if not."""
        if not self.has_stored_weight:
            return "its weight is computed"
        is_stored = self.bias_node is None or self.bias_node.op == "get_attr"
        return None if is_stored else "its bias is computed"

    @property
    def weight(self) -> Tensor:
        """The stored weight."""
        return self.network.tensor(self.weight_node)

    @property
    def bias(self) -> Float[Tensor, " out"] | None:
        """The stored bias, or None."""
        return None if self.bias_node is None else self.network.tensor(self.bias_node)

    def grouped_weight(self) -> Float[Tensor, "groups out in *kernel"]:
        """The weight as `[groups, out per group, in per group, *kernel]`; a view where possible."""
        return self.grouped(self.weight.detach())

    def grouped(self, weight: Tensor) -> Float[Tensor, "groups out in *kernel"]:
        """A tensor of the stored weight's shape in the canonical shape of `grouped_weight`."""
        groups = self.groups
        grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        return grouped.transpose(1, 2) if self.is_transposed else grouped

    def ungrouped(self, grouped: Float[Tensor, "groups out in *kernel"]) -> Tensor:
        """The inverse of `grouped`: the shape of the stored weight."""
        value = grouped.transpose(1, 2) if self.is_transposed else grouped
        return value.reshape(self.weight.shape).contiguous()

    def set_grouped_weight(self, grouped: Float[Tensor, "groups out in *kernel"]) -> None:
        """Store a weight given in the canonical shape of `grouped_weight`."""
        self.network.replace_tensor(self.weight_node, self.ungrouped(grouped))

    def set_bias(self, value: Float[Tensor, " out"]) -> None:
        """Store a bias; a layer without one, or with a shared one, gets its own."""
        node = self.bias_node
        if node is not None and node.op == "get_attr" and len(node.users) == 1:
            self.network.replace_tensor(node, value)
            return
        edge = argument(self.node, "bias")
        quantizer = edge if edge is not None and edge.op == "call_module" else None
        own = self.network.add_tensor(f"{self.name}.bias", value, before=quantizer or self.node)
        if quantizer is None:
            set_argument(self.node, "bias", own)
        else:
            quantizer.update_arg(0, own)

    def ensure_bias(self) -> None:
        """Give a layer without a bias one of zeros; it can then be changed in place."""
        if self.bias_node is None:
            channels = self.node.meta["val"].shape[self.channel_axis]
            self.set_bias(self.weight.detach().new_zeros(channels))

    def add_to_bias(self, shift: Float[Tensor, " out"]) -> None:
        """b ← b + shift; a layer without a bias gets one."""
        self.set_bias(shift if self.bias is None else self.bias.detach() + shift)

    def run(self, x: Tensor, weight: Tensor) -> Tensor:
        """Run the layer's op on an input, with its own bias and settings and another weight.

        Args:
            x: The input.
            weight: A tensor of the stored weight's shape.
        """
        settings = [spec.name for spec in overload(self.node)._schema.arguments[3:]]
        bias = None if self.bias is None else self.bias.detach()
        return call(self.node, (x, weight, bias, *(argument(self.node, s) for s in settings)), {})

    def own_weight(self) -> None:
        """Give this call a weight of its own, and a new name, if it shares one with another."""
        node = self.weight_node
        if node.op == "get_attr" and len(node.users) > 1:
            value = self.network.tensor(node).detach().clone()
            name = f"{free_name(self.network.module, self.name)}.weight"
            own = self.network.add_tensor(name, value, before=self.node)
            set_argument(self.node, "weight", own)


def per_output(
    factor: Float[Tensor, " outputs"], weight: Float[Tensor, "groups out in *kernel"]
) -> Float[Tensor, "..."]:
    """One factor per output channel, shaped to multiply a grouped weight."""
    return factor.reshape(weight.shape[0], -1, *[1] * (weight.ndim - 2))


def per_input(
    factor: Float[Tensor, " inputs"], weight: Float[Tensor, "groups out in *kernel"]
) -> Float[Tensor, "..."]:
    """One factor per input channel, shaped to multiply a grouped weight."""
    return factor.reshape(weight.shape[0], 1, -1, *[1] * (weight.ndim - 3))


def is_layer(node: fx.Node) -> bool:
    """True if the node is a call of a weighted op."""
    return node.op == "call_function" and node.target in WEIGHTED


def layers(network: Network) -> Iterator[Layer]:
    """All weighted calls in execution order."""
    for node in network.nodes():
        if is_layer(node):
            yield Layer(node, network)
