"""Runs the program of a network call by call, in the arithmetic of XNNPACK's integer kernels.

    dequantize → op → activation → quantize       one kernel, from integers to integers

A call whose arithmetic is known is computed on the integers. PyTorch computes all others as they
stand in the program: those that only move values are equal to the bit there, too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from tersor.core.mlas.integer_add import Stepped
from tersor.core.mlas.requantize import Limits, output_scale, requantize
from tersor.core.xnnpack.fixed_add import fixed_add
from tersor.export.executorch.forms import fit
from tersor.export.pytorch.decomposed import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE, decomposed
from tersor.export.pytorch.decomposed_rows import DEQUANTIZE_ROWS
from tersor.graph.network import Network
from tersor.graph.nodes import argument, operand
from tersor.graph.ops import CONVOLUTIONS, LINEAR, MOVEMENT, PADS, clip_bounds

aten = torch.ops.aten
_MOVES = {*MOVEMENT, *PADS, aten.view.default, aten.max_pool2d.default, aten.upsample_nearest2d.vec}


class IntegerProgram(fx.Interpreter):
    """A network as XNNPACK computes it.

    Attributes:
        computed: Name → op of the calls that were computed on integers, once it ran.
        unknown: Name → op of calls on integers whose arithmetic is not known.
    """

    def __init__(self, network: Network) -> None:
        """Write the network as for a file, without lowering it.

        Args:
            network: A network that is quantized for XNNPACK; it is not changed.
        """
        self.network = decomposed(network, (torch.int8,))
        fit(self.network)
        super().__init__(self.network.module, garbage_collect_values=False)
        self.computed: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self._last = {node: _op_before(node) for node in self.network.nodes() if _rounds(node)}
        ends = {activation for _, activation in self._last.values()}
        self._calls = [n for n in self.network.nodes() if _computes(n) and n not in ends]
        self.unknown.update({_name(node): _op(node) for node in self._calls if _reads_rows(node)})

    @property
    def others(self) -> int:
        """Number of the other calls: they move values, or are in float."""
        return len(self._calls) - len(self.computed) - len(self.unknown)

    def outputs(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, in order.

        Args:
            inputs: One sample, or a batch of the size that the program takes.
        """
        with torch.no_grad():
            found = self.run(*inputs)
        return list(found) if isinstance(found, tuple | list) else [found]

    def run_node(self, n: fx.Node) -> Any:
        """Compute one node; a quantizer computes the kernel that ends in it."""
        if n not in self._last:
            return super().run_node(n)
        op, activation = self._last[n]
        whole = _integer_inputs(op)
        if not whole or op.target in _MOVES:
            return self._converted(n)
        known = _KNOWN.get(op.target, IntegerProgram.not_known)
        inputs = [(self.env[operand(dq)], _stepped(dq)) for dq in whole]
        found = known(self, op, inputs, _stepped(n), _limits(n, activation))
        (self.unknown if found is None else self.computed)[_name(op)] = _op(op)
        return self._converted(n) if found is None else found.to(torch.int8)

    def not_known(self, *_: object) -> None:
        """A kernel on integers whose arithmetic is not known."""

    def _converted(self, node: fx.Node) -> Tensor:
        """Floats as integers: they are multiplied by the inverse of the step."""
        to, floats = _stepped(node), self.env[operand(node)]
        return requantize(floats.clone(), 1 / to.scale, to.zero_point, _INT8).to(torch.int8)

    def layer(self, op: fx.Node, inputs: "Inputs", to: Stepped, limits: Limits) -> Tensor:
        """A convolution or a linear layer: whole sums, times one float per channel."""
        ((x, of_x),) = inputs
        read = argument(op, "weight")
        is_one = read.target is DEQUANTIZE
        step = torch.tensor(read.args[1]) if is_one else self.network.tensor(read.args[1])
        weight = self.network.tensor(read.args[0]).double()
        bias = argument(op, "bias")
        if bias is not None:
            unit = (of_x.scale * step).double()
            bias = (self.network.tensor(bias).double() / unit).round_().expand(len(weight))
        target: Any = op.target
        sums = target(x.double() - of_x.zero_point, weight, bias, *op.args[3:], **op.kwargs)
        scale = output_scale(of_x.scale, step, to.scale)
        if scale.ndim and op.target in CONVOLUTIONS:
            scale = scale.view(-1, *[1] * (sums.ndim - 2))
        return requantize(sums, scale, to.zero_point, limits)

    def mean(self, op: fx.Node, inputs: "Inputs", to: Stepped, limits: Limits) -> Tensor | None:
        """A mean over a picture: a whole sum, times the step over the number of values."""
        ((x, of_x),) = inputs
        target: Any = op.target
        means = target(x.double() - of_x.zero_point, *op.args[1:], **op.kwargs)
        if x.ndim != _PICTURE or means.numel() != x.shape[0] * x.shape[1]:
            return None
        count = x.shape[2] * x.shape[3]
        sums = means * count
        scale = of_x.scale / (to.scale * count)
        return requantize(sums.round_(), scale, to.zero_point, limits)

    def add(self, op: fx.Node, inputs: "Inputs", to: Stepped, limits: Limits) -> Tensor:
        """A sum of two values."""
        del op
        (a, of_a), (b, of_b) = inputs
        return fixed_add(a.long(), of_a, b.long(), of_b, to, limits)

    def multiply(self, op: fx.Node, inputs: "Inputs", to: Stepped, limits: Limits) -> Tensor:
        """A product of two values."""
        del op
        (a, of_a), (b, of_b) = inputs
        product = (a.float() - of_a.zero_point) * (b.float() - of_b.zero_point)
        scale = output_scale(of_a.scale, of_b.scale, to.scale)
        return requantize(product, scale, to.zero_point, limits)


Inputs = Sequence[tuple[Tensor, Stepped]]
_INT8 = (-128, 127)
_PAIRS = {aten.add.Tensor, aten.mul.Tensor}
_PICTURE = 4  # axes
_KNOWN: Mapping[Any, Callable[..., Tensor | None]] = {
    **dict.fromkeys((*CONVOLUTIONS, *LINEAR), IntegerProgram.layer),
    aten.mean.dim: IntegerProgram.mean,
    aten.adaptive_avg_pool2d.default: IntegerProgram.mean,
    aten.add.Tensor: IntegerProgram.add,
    aten.mul.Tensor: IntegerProgram.multiply,
}


def _rounds(node: fx.Node) -> bool:
    return node.target is QUANTIZE


def _op_before(node: fx.Node) -> tuple[fx.Node, fx.Node | None]:
    """The call whose kernel ends in a quantizer, and the activation between them, if any.

    XNNPACK fuses a clip with the kernel before it, so that nothing is rounded in between.
    """
    source = operand(node)
    if clip_bounds(source) is None or len(source.users) > 1:
        return source, None
    before = operand(source)
    if before.target is DEQUANTIZE and _is_read_once(before) and _is_read_once(operand(before)):
        before = operand(operand(before))
    return (before, source) if _is_read_once(before) else (source, None)


def _is_read_once(node: fx.Node) -> bool:
    return node.op == "call_function" and len(node.users) == 1


def _integer_inputs(op: fx.Node) -> list[fx.Node]:
    """The values that a call reads, if all of them, and its weight, are read as integers."""
    if op.op != "call_function":
        return []
    if op.target in CONVOLUTIONS or op.target in LINEAR:
        weight = argument(op, "weight")
        has_kernel = weight.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS)
        given = [operand(op)] if has_kernel else []
    elif op.target in _PAIRS:
        given = list(op.args[:2])
    else:
        given = op.all_input_nodes
    found = [node for node in given if isinstance(node, fx.Node) and node.target is DEQUANTIZE]
    return found if len(found) == len(given) else []


def _stepped(node: fx.Node) -> Stepped:
    scale: Any = node.args[1]
    zero_point: Any = node.args[2]
    return Stepped(torch.tensor(scale, dtype=torch.float32), int(zero_point))


def _limits(node: fx.Node, activation: fx.Node | None) -> Limits:
    """The smallest and largest integer of a result, which an activation may clip."""
    bounds = None if activation is None else clip_bounds(activation)
    if bounds is None:
        return _INT8
    to = _stepped(node)
    ends = torch.tensor(bounds, dtype=torch.float32) / to.scale
    low, high = (ends.round_() + to.zero_point).clamp_(*_INT8).tolist()
    return int(low), int(high)


def _computes(node: fx.Node) -> bool:
    """Whether a node is a call, but none that only converts values to integers and back."""
    is_op = isinstance(node.target, torch._ops.OpOverload)
    return is_op and not str(node.target).startswith("quantized_decomposed.")


def _reads_rows(node: fx.Node) -> bool:
    return any(value.target is DEQUANTIZE_ROWS for value in node.all_input_nodes)


def _op(node: fx.Node) -> str:
    return str(node.target).split(".")[1]


def _name(node: fx.Node) -> str:
    """The name of a layer as in the model, or else that of the call."""
    if node.target in CONVOLUTIONS or node.target in LINEAR:
        weight = argument(node, "weight")
        weight = weight.args[0] if weight.op == "call_function" else weight
        if weight.op == "get_attr":
            return str(weight.target).removesuffix(".weight")
    return node.name
