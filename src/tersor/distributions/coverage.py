"""How often each kernel position of a layer reads its input rather than zero padding."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.graph.layers import Layer
from tersor.graph.nodes import argument


def tap_coverage(layer: Layer, input_shape: torch.Size) -> Float[Tensor, "*kernel"]:
    """Compute the share of output positions at which each tap of the kernel reads the input.

    The op itself is run once on a map of ones, with one output channel per tap, so padding,
    stride, dilation and transposition need no formulas.

    Args:
        layer: The layer; its weight must be stored.
        input_shape: Shape of its input.

    Returns:
        One share from 0 to 1 per kernel position; 0-d for linear layers.
    """
    weight = layer.weight.detach()
    if layer.is_linear:
        return weight.new_ones(())
    kernel = weight.shape[2:]
    taps = torch.eye(math.prod(kernel)).to(weight).reshape(-1, *kernel)
    taps = taps.unsqueeze(0 if layer.is_transposed else 1)
    ones = weight.new_ones(1, 1, *input_shape[2:])
    return _call(layer.node, ones, taps).flatten(2).mean((0, 2)).reshape(kernel)


def _call(node: fx.Node, x: Tensor, weight: Tensor) -> Tensor:
    """Run the op of a convolution node, with its geometry, on another input and weight."""
    assert isinstance(node.target, torch._ops.OpOverload)
    replaced = {"input": x, "weight": weight, "bias": None, "groups": 1}
    names = [spec.name for spec in node.target._schema.arguments]
    with torch.no_grad():
        return node.target(*(replaced[n] if n in replaced else argument(node, n) for n in names))
