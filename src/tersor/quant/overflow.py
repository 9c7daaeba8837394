"""s_w ≥ |b| / (2³⁰ s_in): weight scales at which every bias fits into 32 bits.

A bias is added to the accumulator in steps of s_in · s_w, or finer ones. A dead channel has tiny
weights compared with its bias, and equalization makes them even smaller, so its bias may need more
than 32 bits. Biases that the scheme leaves in float are guarded as well: a runtime that computes in
integers stores them in 32 bits when it loads the file.
"""

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.response import expected_response
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Applied, Network
from tersor.graph.nodes import operand, source
from tersor.graph.ops import clip_bounds
from tersor.quant.place import weight_quantizer
from tersor.quant.quantizer import FakeQuantize, fineness, quantizer_at

aten = torch.ops.aten
LIMIT = 2**30  # half of what 32 bits hold: the products are added to the bias


def guard_bias_overflow(network: Network) -> None:
    """Make every bias fit into 32 bits, once all ranges are set, and when biases have changed.

    A bias that does not fit is first clipped to what the quantizer after the layer can represent,
    which changes no output. If it still does not fit, the weight scale is widened: that of its
    channel, or of the whole layer if it has only one.

    Args:
        network: Edited in place.
    """
    for layer in layers(network):
        of_input, of_weight = quantizer_at(network, operand(layer.node)), weight_quantizer(layer)
        if of_input is not None and of_weight is not None and not of_input.scale.ndim:
            _guard(layer, of_input, of_weight)


def _guard(layer: Layer, of_input: FakeQuantize, of_weight: FakeQuantize) -> None:
    bias, scale = None if layer.computed else layer.bias, of_weight.scale
    if bias is None or not (of_input.enabled and of_weight.enabled):
        return
    bias, largest = bias.detach(), LIMIT * of_input.scale / fineness(of_weight.grid)
    too_large = bias.abs() > largest * scale
    if not bool(too_large.any()):
        return
    shown = _shown(layer.node, layer.network)
    if shown is not None:
        reach = _reach(layer, of_input)
        cut = bias.maximum(shown[0] - reach).minimum(shown[1] + reach)
        bias = torch.where(too_large, cut, bias)
        layer.set_bias(bias)
    needed = bias.abs() / largest
    needed = needed if scale.ndim else needed.max()
    numbers = {
        "channels": float(too_large.sum()),
        "widest": float((needed / scale).max().clamp(min=1)),
    }
    of_weight.set_scale(torch.maximum(scale, needed), of_weight.zero_point)
    what = "biases of dead channels made to fit into 32 bits"
    layer.network.records.append(Applied(layer.name, "calibrate", what, numbers))


def _reach(layer: Layer, of_input: FakeQuantize) -> Float[Tensor, " outputs"]:
    """The largest effect of the input on the output: Σ|Q(W)| max|x|, as |Q(W)| ≤ 2 |W|."""
    weight = layer.grouped_weight().abs()
    largest = weight.new_ones(weight.shape[0] * weight.shape[2])
    largest = 2 * of_input.grid.steps * of_input.scale * largest
    return expected_response(weight, largest, weight.new_ones(weight.shape[3:]))


def _shown(node: fx.Node, network: Network) -> tuple[Tensor, Tensor] | None:
    """The range of the quantizer that is the only reader, after clips that a kernel ends in."""
    while len(node.users) == 1:
        (user,) = node.users
        if user.op == "call_module":
            quantizer = quantizer_at(network, user)
            return None if quantizer is None else _range(quantizer)
        if clip_bounds(user) is None and not _clips_at_stored(user):
            return None
        node = user
    return None


def _clips_at_stored(node: fx.Node) -> bool:
    if node.target not in (aten.minimum.default, aten.maximum.default):
        return False
    return any(source(arg).op == "get_attr" for arg in node.all_input_nodes)


def _range(quantizer: FakeQuantize) -> tuple[Tensor, Tensor] | None:
    """Smallest and largest value on a grid with one scale."""
    if not quantizer.enabled or quantizer.scale.ndim:
        return None
    zero_point = quantizer.zero_point.to(quantizer.scale)
    low, high = (end - zero_point for end in (quantizer.grid.qmin, quantizer.grid.qmax))
    return low * quantizer.scale, high * quantizer.scale
