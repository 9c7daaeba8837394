"""Offsets that are not a whole number of steps: the rest is moved into the biases.

    β = r − z · s                                       z: a whole number, the zero point
    Ŵ x̂ + b = Ŵ Q(x − r) + (b + r · Σ Ŵ)                Q: rounds to steps of s, with z

LSQ+, arXiv 2004.09576, §3.1: the contribution of the offset to the result does not depend on the
input. With few bits, a step is larger than the negative part of SiLU, so an offset of whole steps
would nearly always be 0. In front of anything but a layer, the offset has to be whole steps.

If a layer pads with zeros, these then stand for r, which is what 0 is rounded to. While the offset
is trained, the padding comes before the quantizer, which is equivalent.

Differs from the paper in: only r goes into the bias; −z · s is represented by the zero point of the
runtime. The subtraction is a node of the graph.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from tersor.core.learned_step import offset_in_bias
from tersor.graph.layers import Layer, is_layer
from tersor.graph.network import Network
from tersor.graph.nodes import argument, operand, set_argument
from tersor.quant.placement.place import weight_quantizer

aten = torch.ops.aten
_PADDING = "padding of the layers behind"  # in `meta` of what pads in their place


def goes_into_biases(network: Network, calls: Sequence[fx.Node]) -> bool:
    """Whether any offset of this quantizer can go into the biases of the layers after it.

    Args:
        network: The network.
        calls: The nodes that call the quantizer.
    """
    if len(calls) != 1:
        return False  # the value moves in between, and whatever moves it would have to know
    readers = list(calls[0].users)
    if not all(_can_take(network, reader, calls[0]) for reader in readers):
        return False
    return len({str(_padding(Layer(reader, network))) for reader in readers}) == 1


def pad_before_rounding(network: Network, call: fx.Node) -> None:
    """Pad a value before a quantizer rounds it, instead of in the layers after it.

    Args:
        network: Edited in place.
        call: The call of a quantizer for which `goes_into_biases` holds.
    """
    readers = [Layer(reader, network) for reader in call.users]
    padding = _padding(readers[0])
    if not padding:
        return
    value, both_sides = operand(call), [size for size in reversed(padding) for _ in range(2)]
    with network.graph.inserting_before(call):
        padded = network.graph.call_function(aten.constant_pad_nd.default, (value, both_sides))
    padded.meta = {_PADDING: padding}
    call.update_arg(0, padded)
    for reader in readers:
        set_argument(reader.node, "padding", [0] * len(padding))


def pad_again(network: Network, call: fx.Node) -> None:
    """Undo `pad_before_rounding`, if it did anything.

    Args:
        network: Edited in place.
        call: The call of the quantizer.
    """
    padded = operand(call)
    if _PADDING not in padded.meta:
        return
    for reader in list(call.users):
        set_argument(reader, "padding", padded.meta[_PADDING])
    call.update_arg(0, operand(padded))
    network.graph.erase_node(padded)


@torch.no_grad()
def move_into_biases(network: Network, call: fx.Node, rest: float) -> None:
    """Let a quantizer round x − r, and add r · Σ Ŵ to the biases of the layers after it.

    Args:
        network: Edited in place.
        call: The call of a quantizer for which `goes_into_biases` holds.
        rest: r.
    """
    value = operand(call)
    with network.graph.inserting_before(call):
        less = network.graph.call_function(aten.sub.Tensor, (value, rest))
    less.meta = dict(value.meta)
    call.update_arg(0, less)
    for reader in list(call.users):
        layer = Layer(reader, network)
        quantizer, weight = weight_quantizer(layer), layer.weight.detach()
        rounded = weight if quantizer is None else quantizer(weight)
        layer.add_to_bias(offset_in_bias(rounded, rounded.new_tensor([rest])))


def _can_take(network: Network, reader: fx.Node, call: fx.Node) -> bool:
    if not is_layer(reader) or operand(reader) is not call:
        return False
    layer = Layer(reader, network)
    return not isinstance(_padding(layer), str) and not layer.computed


def _padding(layer: Layer) -> Any:
    """Zeros on either side of each axis; a text if their number follows from something else."""
    if not layer.pads_with_zeros:
        return []
    return "transposed" if layer.is_transposed else argument(layer.node, "padding")
