"""The properties that the time of a layer depends on: its op, its shapes, and its settings.

Equal calls take equal time, whatever their weights, so each has to be timed only once.
"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import fx

from tersor.graph.costs import batch_size
from tersor.graph.layers import Layer, layers, per_axis
from tersor.graph.network import Network
from tersor.graph.nodes import argument
from tersor.graph.shapes import is_free, shapes

Op = Literal["Conv", "ConvTranspose", "MatMul"]
Sizes = tuple[int, ...]
Attributes = tuple[tuple[str, int | Sizes], ...]


@dataclass(frozen=True)
class Call:
    """One call of a layer, as ONNX would write it.

    Attributes:
        op: Type of the node.
        input: Shape of the input.
        weight: Shape of the weight: `[in, out]` of a linear layer.
        outputs: Channels of the output.
        has_bias: Whether a bias is added.
        attributes: The attributes of the node, with their names.
    """

    op: Op
    input: Sizes
    weight: Sizes
    outputs: int
    has_bias: bool = True
    attributes: Attributes = ()


def calls(network: Network, one: bool = True) -> list[tuple[fx.Node, Call]]:
    """List the call of every layer, in execution order.

    Args:
        network: The network, without quantizers.
        one: Whether to use one sample, if the network takes any number.
    """
    seen = shapes(network)
    batch = batch_size(network) if one and _takes_any(network) else 1
    return [(layer.node, _call(layer, seen, batch)) for layer in layers(network)]


def _takes_any(network: Network) -> bool:
    """Whether the first axis of all inputs may have any size."""
    inputs = [node.meta.get("val") for node in network.graph.find_nodes(op="placeholder")]
    sizes = [x.shape[0] for x in inputs if getattr(x, "ndim", 0)]
    return bool(sizes) and all(map(is_free, sizes))


def _call(layer: Layer, seen: dict[fx.Node, Any], batch: int) -> Call:
    before, weight = tuple(seen[layer.input]), tuple(seen[layer.weight_node])
    if before[0] % batch == 0:
        before = (before[0] // batch, *before[1:])
    outputs, has_bias = seen[layer.node][layer.channel_axis], layer.bias_node is not None
    if layer.is_linear:
        return Call("MatMul", before, weight[::-1], outputs, has_bias)
    op: Op = "ConvTranspose" if layer.is_transposed else "Conv"
    return Call(op, before, weight, outputs, has_bias, _attributes(layer, weight))


def _attributes(layer: Layer, weight: Sizes) -> Attributes:
    found: dict[str, int | Sizes] = {
        "strides": per_axis(layer, "stride"),
        "dilations": per_axis(layer, "dilation"),
        "group": layer.groups,
        "pads": pads(layer, weight[2:]),
    }
    if layer.is_transposed:
        found["output_padding"] = per_axis(layer, "output_padding")
    return tuple(found.items())


def pads(layer: Layer, kernel: Sizes) -> Sizes:
    """The padding before each axis, then the padding after each axis.

    Args:
        layer: A convolution.
        kernel: The sizes of its kernel.
    """
    padding = argument(layer.node, "padding")
    if not isinstance(padding, str):
        return 2 * per_axis(layer, "padding")
    if padding == "valid":
        return (0,) * 2 * layer.kernel_dims
    reach = per_axis(layer, "dilation")
    added = [r * (taps - 1) for r, taps in zip(reach, kernel, strict=True)]
    return (*(n // 2 for n in added), *(n - n // 2 for n in added))
