"""W′ = W · γ / √(σ² + ε),  b′ = (b − μ) · γ / √(σ² + ε) + β: BatchNorm folding.

Exact in inference. A BatchNorm behind a layer goes into that layer. One in front goes into all
layers that read it, if none of them pads with zeros: W (scale · x + shift) + b has the weight
W · scale and the bias b + W · shift. What a folded BatchNorm knew about its output, mean β and
standard deviation |γ|, stays in `Network.statistics` for the data-free methods.
"""

from collections import defaultdict
from collections.abc import Hashable

import torch
from jaxtyping import Float
from torch import Tensor, fx

from tersor.core.response import expected_response
from tersor.graph.batchnorm import BatchNorm, batch_norms
from tersor.graph.layers import Layer, is_layer, set_argument
from tersor.graph.network import Applied, Network, Skipped
from tersor.graph.shapes import shapes


def fold(network: Network) -> None:
    """Fold every BatchNorm into the layer before it, or else into the layers after it.

    Args:
        network: Edited in place; its function is unchanged.
    """
    ranks = {
        node: len(shape) for node, shape in shapes(network).items() if isinstance(shape, torch.Size)
    }
    while groups := _groups_behind(network, ranks):
        for norms in groups:
            network.records.append(_fold_behind(norms))
    for norm in batch_norms(network):
        reason = norm.refusal or _refusal_in_front(norm, ranks)
        if reason is None:
            network.records.append(_fold_in_front(norm))
            continue
        if norm.refusal is None:
            network.statistics[norm.node.name] = norm.output
            reason = f"{_refusal_behind(norm, ranks)}, and {reason}"
        network.records.append(Skipped(norm.name, "fold", reason))
    network.finish()


def _groups_behind(network: Network, ranks: dict[fx.Node, int]) -> list[list[BatchNorm]]:
    """BatchNorms that fold into the layer before, those together that give the same weight.

    A module that is called several times keeps one weight if each call has the same BatchNorm.
    """
    groups: dict[Hashable, list[BatchNorm]] = defaultdict(list)
    for norm in batch_norms(network):
        if norm.refusal is None and _refusal_behind(norm, ranks) is None:
            layer = Layer(norm.input, network)
            groups[layer.weight_node, layer.bias_node, norm.parameters].append(norm)
    return list(groups.values())


def _refusal_behind(norm: BatchNorm, ranks: dict[fx.Node, int]) -> str | None:
    """Why a BatchNorm cannot go into the layer before it, or None if it can."""
    if not is_layer(norm.input):
        return f"its input is {_describe(norm.input)}, not a layer"
    layer = Layer(norm.input, norm.network)
    if len(layer.node.users) > 1:
        return f"the output of {layer.name} is also read elsewhere"
    return _refusal(layer, ranks)


def _refusal_in_front(norm: BatchNorm, ranks: dict[fx.Node, int]) -> str | None:
    """Why a BatchNorm cannot go into the layers after it, or None if it can."""
    _, shift = norm.scale_and_shift
    for user in norm.node.users:
        if not is_layer(user) or user.args[0] is not norm.node:
            return f"its output is read by {_describe(user)}, not by a layer"
        layer = Layer(user, norm.network)
        reason = _refusal(layer, ranks)
        if reason is not None:
            return reason
        if layer.pads_with_zeros and bool(shift.any()):
            return f"{layer.name} pads with zeros, which a shift in front of it would change"
    return None


def _refusal(layer: Layer, ranks: dict[fx.Node, int]) -> str | None:
    if layer.is_linear and ranks[layer.node] != 2:
        return f"{layer.name} has its channels on the last axis, the BatchNorm on the second"
    stored = [node.op == "get_attr" for node in (layer.weight_node, layer.bias_node) if node]
    return None if all(stored) else f"the weight or bias of {layer.name} is computed"


def _describe(node: fx.Node) -> str:
    kinds = {"placeholder": "an input of the network", "output": "the output of the network"}
    return kinds.get(node.op, f"{node.name} ({node.target})")


def _fold_behind(norms: list[BatchNorm]) -> Applied:
    """γ (W x + b − μ) / √(σ² + ε) + β, in all calls that share W, b and BatchNorm."""
    network = norms[0].network
    first, *others = [Layer(norm.input, network) for norm in norms]
    scale, shift = norms[0].scale_and_shift
    bias = shift if first.bias is None else first.bias.detach() * scale + shift
    for other in others:
        set_argument(other.node, "bias", None)
    untied = len(first.weight_node.users) > len(norms)
    if untied:
        first.own_weight()
    weight = first.grouped_weight()
    first.set_grouped_weight(weight * _per_output(scale, weight))
    first.set_bias(bias)
    for other in others:
        set_argument(other.node, "weight", first.weight_node)
        set_argument(other.node, "bias", first.bias_node)
    what = f"{norms[0].name} folded into it"
    if untied:
        what += "; it shared its weight with another call and has its own now"
    for norm in norms:
        network.statistics[norm.input.name] = norm.output
        norm.node.replace_all_uses_with(norm.input)
        network.graph.erase_node(norm.node)
    return Applied(first.name, "fold", what, _numbers(scale))


def _fold_in_front(norm: BatchNorm) -> Applied:
    """W (scale · x + shift) + b, in every layer that reads the BatchNorm."""
    scale, shift = norm.scale_and_shift
    names = []
    for layer in [Layer(user, norm.network) for user in norm.node.users]:
        layer.own_weight()
        weight = layer.grouped_weight()
        added = expected_response(weight, shift, weight.new_ones(weight.shape[3:]))
        layer.add_to_bias(added)
        layer.set_grouped_weight(weight * _per_input(scale, weight))
        names.append(layer.name)
    record = Applied(
        norm.name, "fold", f"folded into {', '.join(names)} behind it", _numbers(scale)
    )
    norm.node.replace_all_uses_with(norm.input)
    norm.network.graph.erase_node(norm.node)
    return record


def _per_output(
    factor: Float[Tensor, " outputs"], weight: Float[Tensor, "groups out in *kernel"]
) -> Tensor:
    return factor.reshape(weight.shape[0], -1, *[1] * (weight.ndim - 2))


def _per_input(
    factor: Float[Tensor, " inputs"], weight: Float[Tensor, "groups out in *kernel"]
) -> Tensor:
    return factor.reshape(weight.shape[0], 1, -1, *[1] * (weight.ndim - 3))


def _numbers(scale: Float[Tensor, " channels"]) -> dict[str, float]:
    return {
        "channels": float(len(scale)),
        "smallest scale": float(scale.abs().min()),
        "largest scale": float(scale.abs().max()),
    }
