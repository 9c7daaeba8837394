"""Offsets that are no whole number of steps: what the grid cannot show goes into the biases.

    β = r − z · s                                       z: a whole number, the zero point
    Ŵ x̂ + b = Ŵ Q(x − r) + (b + r · Σ Ŵ)                Q: rounds to steps of s, with z

LSQ+, arXiv 2004.09576, §3.1: the part of the result that the offset makes up does not depend on the
input. With few bits a step is larger than all that SiLU leaves below 0, so that an offset of whole
steps would nearly always be none. Where a layer pads with zeros, these would stand for r: there an
offset has to be a whole number of steps, as it has in front of anything but a layer.

Differs from the paper in: only r goes into the bias; −z · s is what runtimes have a zero point for.
The subtraction is a node of the graph.
"""

from collections.abc import Sequence

import torch
from torch import fx

from tersor.core.learned_step import offset_in_bias
from tersor.graph.layers import Layer, is_layer, operand
from tersor.graph.network import Network
from tersor.quant.place import weight_quantizer

aten = torch.ops.aten


def goes_into_biases(network: Network, calls: Sequence[fx.Node]) -> bool:
    """Can any offset of this quantizer go into the biases of the layers that read its values?

    Args:
        network: The network.
        calls: The nodes that call the quantizer.
    """
    if len(calls) != 1:
        return False  # the value moves in between, and whatever moves it would have to know
    return all(_can_take(network, reader, calls[0]) for reader in calls[0].users)


@torch.no_grad()
def move_into_biases(network: Network, call: fx.Node, rest: float) -> None:
    """Let a quantizer round x − r, and add r · Σ Ŵ to the biases of the layers behind it.

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
    nodes = [node for node in (layer.weight_node, layer.bias_node) if node is not None]
    return not layer.pads_with_zeros and all(node.op == "get_attr" for node in nodes)
