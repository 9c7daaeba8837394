"""A quantizer is a node on an edge: one module for weights and activations, one for biases.

Both call the custom op `tersor::fake_quantize`, which simulates the integer grid in floating
point and which the ONNX writer translates into QuantizeLinear + DequantizeLinear.
"""

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from tersor.core.affine import fake_quantize
from tersor.core.grid import Grid
from tersor.core.ranges import scale_zero_point
from tersor.errors import UnsupportedError
from tersor.graph.lanes import adds_no_pairs
from tersor.graph.layers import Layer
from tersor.graph.network import Network

T = TypeVar("T", bound=nn.Module)


@torch.library.custom_op("tersor::fake_quantize", mutates_args=())
def fake_quantize_op(
    x: Tensor, scale: Tensor, zero_point: Tensor, bits: int, signed: bool, axis: int | None
) -> Tensor:
    """x̂ = (clamp(round(x / scale) + zero_point) − zero_point) · scale, as one graph node."""
    return fake_quantize(x, scale, zero_point, Grid(bits, signed), axis)


@fake_quantize_op.register_fake
def _(
    x: Tensor, scale: Tensor, zero_point: Tensor, bits: int, signed: bool, axis: int | None
) -> Tensor:
    del scale, zero_point, bits, signed, axis
    return torch.empty_like(x)


def _nothing_to_save(ctx: object, inputs: object, output: object) -> None:
    del ctx, inputs, output


def _no_gradient(ctx: object, *_: object) -> None:
    del ctx
    raise UnsupportedError(
        "no gradient passes through the rounding of a quantized model; train it with tersor.train, "
        "or put tersor.trainable(q) in its place in your own training loop"
    )


fake_quantize_op.register_autograd(_no_gradient, setup_context=_nothing_to_save)


def _is_plain(x: Tensor) -> bool:
    """Whether nothing looks at the call: no gradient and no trace, so that no op is needed."""
    watched = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return not watched and type(x) in (Tensor, nn.Parameter)


class FakeQuantize(nn.Module):
    """Simulates an integer grid on one edge of the graph; off until a range is set.

    Attributes:
        grid: The integer grid.
        axis: The channel axis of per-channel quantization, or None for per-tensor.
        stored_only: Whether no kernel computes with the integers: they are only in the file.
        enabled: Whether the values are quantized at all.
        scale: Size of one step, 0-d or `[channels]`.
        zero_point: The integer that stands for 0.0, same shape as `scale`.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, grid: Grid, axis: int | None = None, stored_only: bool = False) -> None:
        super().__init__()
        self.grid = grid
        self.axis = axis
        self.stored_only = stored_only
        self.enabled = False
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros(()))

    def set_range(self, low: Float[Tensor, "*channels"], high: Float[Tensor, "*channels"]) -> None:
        """Set scale and zero point so that the grid spans `[low, high]`, and switch on.

        Args:
            low: Smallest value, 0-d or `[channels]`.
            high: Largest value, same shape.
        """
        self.set_scale(*scale_zero_point(low, high, self.grid))

    def set_scale(self, scale: Float[Tensor, "*channels"], zero_point: Tensor) -> None:
        """Set scale and zero point directly, and switch on."""
        self.scale, self.zero_point = scale.detach(), zero_point.detach()
        self.enabled = True

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Round to the nearest value on the grid."""
        if not self.enabled:
            return x
        if _is_plain(x):
            return fake_quantize(x, self.scale, self.zero_point, self.grid, self.axis)
        return fake_quantize_op(
            x, self.scale, self.zero_point, self.grid.bits, self.grid.signed, self.axis
        )

    def extra_repr(self) -> str:
        """Shown in `print(module)`."""
        return f"{self.grid}, axis={self.axis}, enabled={self.enabled}"


def quantizer_at(network: Network, edge: object) -> FakeQuantize | None:
    """The quantizer of a value or a weight that a node is, if it is one.

    Args:
        network: The network.
        edge: A node, or whatever else stands as an argument of a call.
    """
    return module_at(network, edge, FakeQuantize)


def module_at(network: Network, edge: object, kind: type[T]) -> T | None:
    """The module of a class that a node calls, if it does.

    Args:
        network: The network.
        edge: A node, or whatever else stands as an argument of a call.
        kind: The class.
    """
    if not isinstance(edge, fx.Node) or edge.op != "call_module":
        return None
    module = network.module.get_submodule(str(edge.target))
    return module if isinstance(module, kind) else None


def adds_pairs(layer: Layer, quantizer: FakeQuantize) -> bool:
    """Whether kernels may add pairs of u8×s8 products of a weight in 16 bits.

    Args:
        layer: A layer that reads the weight.
        quantizer: The quantizer of the weight.
    """
    is_wide = quantizer.grid.bits == 8 and not quantizer.stored_only
    return is_wide and not adds_no_pairs(layer)


def fineness(weights: Grid) -> int:
    """How much finer than necessary the integers of weights are stored: 4 for 2 bits, 2 for 3 bits.

    They take 4 bits in a file anyway. As multiples of 4 with steps of s_w / 4 they are the same
    numbers, and a bias, which is added to their products, has a step of s_in · s_w / 4. Otherwise,
    if input and weights both have 2 bits, biases would be the coarsest numbers of all.

    Args:
        weights: The grid of the weights.
    """
    return 2 ** max(4 - weights.bits, 0) if weights.symmetric else 1


class BiasQuantize(nn.Module):
    """Rounds a bias to the 32-bit grid of the accumulator: scale = s_in · s_w / `fineness`.

    Attributes:
        edges: The quantizers of input and weight, if known; if one is off, so is this one.
    """

    def __init__(self, *edges: FakeQuantize) -> None:
        super().__init__()
        self.edges = edges  # in a tuple, so that they are no sub-modules of this one

    @property
    def enabled(self) -> bool:
        """Whether the bias is quantized at all."""
        return all(edge.enabled for edge in self.edges)

    def step(
        self, input_scale: Float[Tensor, ""], weight_scale: Float[Tensor, "*out"]
    ) -> Float[Tensor, "*out"]:
        """One step of the grid; for the arguments see `forward`."""
        finer = fineness(self.edges[-1].grid) if self.edges else 1
        return input_scale * weight_scale / finer

    def forward(
        self,
        bias: Float[Tensor, " out"],
        input_scale: Float[Tensor, ""],
        weight_scale: Float[Tensor, "*out"],
    ) -> Float[Tensor, " out"]:
        """Round the bias to the accumulator's grid.

        Args:
            bias: The float bias.
            input_scale: Scale of the layer's input quantizer.
            weight_scale: Scale of the layer's weight quantizer, 0-d or per output channel.
        """
        if not self.enabled:
            return bias
        scale = self.step(input_scale, weight_scale).expand(bias.shape)
        return fake_quantize_op(bias, scale, torch.zeros_like(scale), 32, True, 0)
