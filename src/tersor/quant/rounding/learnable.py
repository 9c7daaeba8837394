"""Ŵ = s · clip(Z + h(V), n, p): the weights, scales and biases of a block as parameters.

AdaRound's relaxation, arXiv 2004.10568, eqs. 22-24, around integers that are already chosen: each
weight decides between its integer and the next one on the side of the float weight. Scales are
learned as the logarithm of a factor, and biases in units of the standard deviation of their layer's
output, so that one learning rate suits every layer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from tersor.core.soft_rounding import (
    inverse_rectified_sigmoid,
    rectified_sigmoid,
    regularizer,
    soft_integers,
)
from tersor.graph.blocks import Block
from tersor.graph.layers import Layer
from tersor.graph.network import Network
from tersor.graph.nodes import argument, operand, readers
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import FakeQuantize

_MARGIN = 0.01  # h starts this far from ½, on the side of the chosen integer
_LONG = 8  # weights of so many bits, or more, are not changed

Values = dict[fx.Node, Any]
Quantize = Callable[[FakeQuantize, Tensor], Tensor]


class Body:
    """The computation of a block, in which any values can be replaced by others.

    Attributes:
        block: The block.
        network: Its network.
        constants: Current values that it reads and that do not depend on an input.
    """

    def __init__(self, block: Block, network: Network) -> None:
        self.block = block
        self.network = network
        computed = {*block.nodes, *block.entries}
        read = {arg for node in block.nodes for arg in node.all_input_nodes}
        self.constants: Values = {arg: self._constant(arg) for arg in read - computed}

    def _constant(self, node: Any) -> Any:
        if node.op == "get_attr":
            return self.network.tensor(node).detach()
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._constant)
        if node.op == "call_module":
            return self.network.module.get_submodule(str(node.target))(*args)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def __call__(self, given: Values, quantize: Quantize) -> Values:
        """Compute all values of the block.

        Args:
            given: The inputs of the block, and replacements of constants.
            quantize: Computes a quantizer.
        """
        values = self.constants | given
        for node in self.block.nodes:
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            if node.op == "call_module":
                module = self.network.module.get_submodule(str(node.target))
                assert isinstance(module, FakeQuantize)
                values[node] = quantize(module, values[operand(node)])
            else:
                values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return values


class LearnableLayer:
    """A layer whose weight, scale and bias are learned.

    Attributes:
        layer: The layer.
        quantizer: The quantizer of its weight.
        low: Z, the lower of the two integers of each weight.
        gate: V.
        stretch: The logarithm of the factor of each scale.
        shift: The term that is added to each bias, in units; empty if it has no bias of its own.
        unit: The size of a unit.
    """

    def __init__(self, layer: Layer, wanted: Tensor) -> None:
        """Start from the rounded weight, inclined towards the float weight.

        Args:
            layer: A layer for which `is_learnable` holds.
            wanted: The float weight.
        """
        quantizer = weight_quantizer(layer)
        assert quantizer is not None
        self.layer = layer
        self.quantizer = quantizer
        self.unit = 1.0
        self._weight, self._scale = layer.weight.detach().clone(), quantizer.scale.clone()
        self._bias = _own_bias(layer)
        self.low, start = self._between(wanted)
        self.gate = inverse_rectified_sigmoid(start).requires_grad_()
        self.stretch = torch.zeros_like(self._scale).requires_grad_()
        none = self._weight.new_zeros(0)
        self.shift = torch.zeros_like(none if self._bias is None else self._bias).requires_grad_()

    def _between(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The lower integer of each weight, and the distance from it to the weight in steps."""
        grid, step, reach = self.quantizer.grid, self._along(self._scale), 0.5 - _MARGIN
        integers = (self._weight / step).round().clamp(grid.qmin, grid.qmax)
        steps = (wanted / step).maximum(integers - reach).minimum(integers + reach)
        low = steps.floor().clamp(grid.qmin, grid.qmax - 1)
        return low, (steps - low).clamp(0, 1)

    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """The learned parameters."""
        return self.gate, self.stretch, self.shift

    def replaced(self) -> Values:
        """Weight and bias for `Body`."""
        weight, _, bias = self._values(rectified_sigmoid(self.gate))
        found = {argument(self.layer.node, "weight"): weight}
        if bias is not None:
            found[argument(self.layer.node, "bias")] = bias
        return found

    def undecided(self, beta: float) -> Tensor:
        """f_reg: the number of weights between two integers.

        Args:
            beta: β.
        """
        return regularizer(rectified_sigmoid(self.gate), beta)

    @torch.no_grad()
    def store(self) -> None:
        """Round finally, and store weight, scale and bias in the network."""
        up = rectified_sigmoid(self.gate) >= 0.5
        self._put(*self._values(up.to(self.gate.dtype)))

    def restore(self) -> None:
        """Restore the previous weight, scale and bias."""
        self._put(self._weight, self._scale, self._bias)

    def _put(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        self.layer.network.replace_tensor(self.layer.weight_node, weight)
        self.quantizer.set_scale(scale, self.quantizer.zero_point)
        if bias is not None:
            self.layer.set_bias(bias)

    def _values(self, up: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Weight, scale and bias."""
        scale = self._scale * self.stretch.exp()
        weight = self._along(scale) * soft_integers(self.low, up, self.quantizer.grid)
        return weight, scale, None if self._bias is None else self._bias + self.unit * self.shift

    def _along(self, scale: Tensor) -> Tensor:
        """Shape scales to broadcast over the stored weight."""
        if self.quantizer.axis is None:
            return scale
        shape = [1] * self._weight.ndim
        shape[self.quantizer.axis] = -1
        return scale.view(shape)


def _own_bias(layer: Layer) -> Tensor | None:
    """The bias, if it is stored and nothing else reads it."""
    node = layer.bias_node
    if node is None or node.op != "get_attr" or readers(node) != [layer.node]:
        return None
    return layer.network.tensor(node).detach().clone()


def is_learnable(layer: Layer) -> bool:
    """Whether the weight is quantized to few bits, and nothing else reads it."""
    quantizer = weight_quantizer(layer)
    is_short = quantizer is not None and quantizer.enabled and quantizer.grid.bits < _LONG
    return is_short and layer.has_own_weight
