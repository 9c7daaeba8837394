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
from tersor.quant.placement.place import weight_quantizer
from tersor.quant.placement.quantizer import FakeQuantize, fineness, quantizer_at

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
        guard_bias(layer)


def overflows(layer: Layer) -> bool:
    """Whether the bias of a layer does not fit into 32 bits, as far as ranges are set.

    Args:
        layer: The layer.
    """
    found = _quantizers(layer)
    return found is not None and bool(_too_large(layer, *found).any())


def guard_bias(layer: Layer) -> None:
    """Make the bias of one layer fit; see `guard_bias_overflow`.

    Args:
        layer: The layer; edited in place.
    """
    found = _quantizers(layer)
    if found is None or layer.bias is None:
        return
    (of_input, of_weight), bias = found, layer.bias.detach()
    too_large, scale = _too_large(layer, *found), of_weight.scale
    if not bool(too_large.any()):
        return
    behind = quantizer_behind(layer)
    quantizer = None if behind is None else quantizer_at(layer.network, behind)
    shown = None if quantizer is None else _range(quantizer)
    if shown is not None:
        reach = _reach(layer, of_input)
        cut = bias.maximum(shown[0] - reach).minimum(shown[1] + reach)
        bias = torch.where(too_large, cut, bias)
        layer.set_bias(bias)
    needed = bias.abs() / _largest(of_input, of_weight)
    needed = needed if scale.ndim else needed.max()
    numbers = {
        "channels": float(too_large.sum()),
        "widest": float((needed / scale).max().clamp(min=1)),
    }
    of_weight.set_scale(torch.maximum(scale, needed), of_weight.zero_point)
    what = "biases of dead channels made to fit into 32 bits"
    layer.network.records.append(Applied(layer.name, "calibrate", what, numbers))


def _quantizers(layer: Layer) -> tuple[FakeQuantize, FakeQuantize] | None:
    """Those of the input and the weight of a layer with a bias, if both are on."""
    of_input = quantizer_at(layer.network, operand(layer.node))
    of_weight = weight_quantizer(layer)
    if of_input is None or of_weight is None or of_input.scale.ndim:
        return None
    is_guarded = of_input.enabled and of_weight.enabled and not layer.computed
    return (of_input, of_weight) if is_guarded and layer.bias is not None else None


def _largest(of_input: FakeQuantize, of_weight: FakeQuantize) -> Tensor:
    """The largest bias that fits, for a weight scale of 1."""
    return LIMIT * of_input.scale / fineness(of_weight.grid)


def _too_large(layer: Layer, of_input: FakeQuantize, of_weight: FakeQuantize) -> Tensor:
    assert layer.bias is not None
    return layer.bias.detach().abs() > _largest(of_input, of_weight) * of_weight.scale


def _reach(layer: Layer, of_input: FakeQuantize) -> Float[Tensor, " outputs"]:
    """The largest effect of the input on the output: Σ|Q(W)| max|x|, as |Q(W)| ≤ 2 |W|."""
    weight = layer.grouped_weight().abs()
    largest = weight.new_ones(weight.shape[0] * weight.shape[2])
    largest = 2 * of_input.grid.steps * of_input.scale * largest
    return expected_response(weight, largest, weight.new_ones(weight.shape[3:]))


def quantizer_behind(layer: Layer) -> fx.Node | None:
    """The call of a module that alone reads an output, after clips that a kernel ends in.

    Args:
        layer: The layer that writes it.
    """
    node = layer.node
    while len(node.users) == 1:
        (user,) = node.users
        if user.op == "call_module":
            return user
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
