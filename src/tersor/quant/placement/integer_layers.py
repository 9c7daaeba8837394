"""Layers of the quantized network that read integers, and compute with integers."""

from collections.abc import Callable

import torch
from torch import Tensor, fx

from tersor.core.codes import Codes, codes
from tersor.core.integer_convolution import IntegerConvolution, Setting, fits
from tersor.graph.layers import Layer, per_axis
from tersor.graph.network import Network
from tersor.graph.nodes import call
from tersor.quant.placement.place import weight_quantizer

aten = torch.ops.aten
_BITS = 8  # of weights that a kernel reads
Compute = Callable[[Tensor | Codes, Tensor, Tensor | None], Tensor]


def integer_layer(node: fx.Node, network: Network) -> Compute | None:
    """What computes a layer of an input that may be integers; None if no kernel would.

    Args:
        node: A call.
        network: Its network. The weight must not change any more once the layer has run.
    """
    if node.target is not aten.conv2d.default or node.kwargs:
        return None
    layer = Layer(node, network)
    quantizer = weight_quantizer(layer)
    if quantizer is None or not quantizer.enabled or layer.computed or layer.is_depthwise:
        return None
    grid = quantizer.grid
    if not (grid.signed and grid.symmetric and grid.container <= _BITS):
        return None
    known: list[IntegerConvolution] = []

    def compute(x: Tensor | Codes, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if isinstance(x, Codes) and not fits(x):
            x = x.value()
        if isinstance(x, Tensor):
            return call(node, (x, weight, bias, *node.args[3:]), node.kwargs)
        if not known:
            known.append(_convolution(layer, weight, bias))
        return known[0](x)

    return compute


def _convolution(layer: Layer, weight: Tensor, bias: Tensor | None) -> IntegerConvolution:
    quantizer = weight_quantizer(layer)
    assert quantizer is not None
    parts = quantizer.scale, quantizer.zero_point, quantizer.grid, quantizer.axis
    rounded = codes(weight, *parts)
    assert rounded is not None
    stride, padding, dilation = (
        list(per_axis(layer, name)) for name in ("stride", "padding", "dilation")
    )
    return IntegerConvolution(rounded, bias, Setting(stride, padding, dilation, layer.groups))
