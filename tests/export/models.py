"""Quantized networks made by hand: every quantizer is put on its edge here, without the placer."""

import torch
from torch import Tensor, nn

from tersor.core.grid import Grid
from tersor.frontend.capture import capture
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network
from tersor.graph.nodes import argument, set_argument, source
from tersor.quant.placement.quantizer import BiasQuantize, FakeQuantize

UINT8 = Grid(8)
INT8 = Grid(8, signed=True, symmetric=True)


class Small(nn.Module):
    """conv → relu → conv, a residual add, pooling and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv1(image).relu()
        x = (self.conv2(x) + x).relu()
        return self.head(x.mean((2, 3)))


def small(seed: int = 0) -> Network:
    """The captured `Small` with random weights, in inference mode."""
    torch.manual_seed(seed)
    return capture(Small(), torch.randn(2, 3, 8, 8))


def quantize_by_hand(
    network: Network, weight: Grid = INT8, activation: Grid = UINT8, per_channel: bool = True
) -> Network:
    """Quantize the input, every floating-point value, weight and bias by its min and max."""
    for node, value in _values(network).items():
        if not _feeds_fused_relu(node):
            _insert(network, node, value, activation, None)
    for layer in layers(network):
        splits = layer.is_transposed and layer.groups > 1  # its channels are not one axis
        axis = layer.out_axis if per_channel and not splits else None
        quantized = layer.weight_node
        if not any(user.op == "call_module" for user in quantized.users):
            _insert(network, quantized, layer.weight, weight, axis)
        if layer.bias is not None:
            _quantize_bias(network, layer)
    network.finish()
    return network


def _quantize_bias(network: Network, layer: Layer) -> None:
    """The bias quantizer reads the scales of the quantizers on the layer's other two edges."""
    readers = [layer.node.args[0], argument(layer.node, "weight")]
    name = f"{layer.name.replace('.', '_')}_{layer.node.name}_bias"
    network.module.add_submodule(f"quantizers.{name}", BiasQuantize())
    with network.graph.inserting_before(layer.node):
        scales = [network.graph.get_attr(f"{reader.target}.scale") for reader in readers]
        bias = network.graph.call_module(f"quantizers.{name}", (layer.bias_node, *scales))
    set_argument(layer.node, "bias", bias)


def _values(network: Network) -> dict:
    """Every floating-point activation, from one run on the example inputs."""
    values = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n):
            result = super().run_node(n)
            is_value = n.op in ("placeholder", "call_function") and isinstance(result, Tensor)
            if is_value and result.is_floating_point():
                values[n] = result
            return result

    with torch.no_grad():
        Recorder(network.module).run(
            *torch.utils._pytree.tree_leaves((network.args, network.kwargs)),
            enable_io_processing=False,
        )
    return values


def _feeds_fused_relu(node) -> bool:
    return all("relu" in str(user.target) for user in node.users)


def _insert(network: Network, node, value: Tensor, grid: Grid, axis: int | None) -> None:
    quantizer = FakeQuantize(grid, axis)
    value = value.detach()
    other = tuple(i for i in range(value.ndim) if axis is None or i != axis)
    low, high = value.amin(other).clamp(max=0), value.amax(other).clamp(min=0)
    quantizer.set_range(low, high)
    name = f"quantizers.{source(node).name}"
    network.module.add_submodule(name, quantizer)
    with network.graph.inserting_after(node):
        edge = network.graph.call_module(name, (node,))
    node.replace_all_uses_with(edge, delete_user_cb=lambda user: user is not edge)
