"""W′ = W · γ / √(σ² + ε),  b′ = (b − μ) · γ / √(σ² + ε) + β: simplifies a network for inference.

Weights that a network computes only from stored tensors become stored weights. Weight
standardization, weight normalization and re-parameterized blocks compute their weight from
parameters at every call. In inference the result never changes, so it is computed once, and every
other pass sees a plain weight.

BatchNorm folding is exact in inference. A BatchNorm after a layer is folded into that layer. One in
front is folded into all layers that read it, if none of them pads with zeros: W (scale · x + shift)
+ b has the weight W · scale and the bias b + W · shift. What a folded BatchNorm knew about its
output, mean β and standard deviation |γ|, stays in `Network.statistics` for the data-free methods.
"""

from collections import defaultdict
from collections.abc import Hashable
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from tersor.core.response import expected_response
from tersor.graph.batchnorm import BatchNorm, batch_norms
from tersor.graph.layers import Layer, is_layer, layers, per_input, per_output
from tersor.graph.network import Applied, Network, Skipped, free_name, set_tensor
from tersor.graph.nodes import argument, call, set_argument, source
from tersor.graph.shapes import shapes


def simplify(network: Network) -> None:
    """Store the weights that are computed, then fold every BatchNorm.

    Args:
        network: Edited in place; its function is unchanged.
    """
    materialize_weights(network)
    fold(network)


def materialize_weights(network: Network) -> None:
    """Store every weight and bias of a layer that is computed only from stored tensors.

    The result is named `<module>.weight` or `.bias`, after the module that held its parts.

    Args:
        network: Edited in place; its function is unchanged.
    """
    for layer in layers(network):
        for role in ("weight", "bias"):
            edge = argument(layer.node, role)
            node = None if edge is None else source(edge)
            if node is None or node.op != "call_function":
                continue
            parts = _parts(node)
            if parts is not None:
                name = f"{_owner(parts) or layer.node.name}.{role}"
                _store(network, node, _evaluate(network, node, parts), name)
                what = f"its {role} is now stored; it was computed from {_names(parts)}"
                network.records.append(Applied(layer.name, "materialize", what))
    network.finish()


def _parts(node: fx.Node) -> list[fx.Node] | None:
    """All that a value is computed from, and itself, in execution order; None if not constant."""
    found, waiting = {node}, [node]
    while waiting:
        part = waiting.pop()
        if not _is_constant(part):
            return None
        new = set(part.all_input_nodes) - found
        found |= new
        waiting += new
    return sorted(found)


def _is_constant(part: fx.Node) -> bool:
    random = torch.Tag.nondeterministic_seeded in getattr(part.target, "tags", ())
    return part.op == "get_attr" or (part.op == "call_function" and not random)


def _evaluate(network: Network, node: fx.Node, parts: list[fx.Node]) -> Tensor:
    values: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for part in parts:
            if part.op == "get_attr":
                values[part] = network.tensor(part)
            else:
                args, kwargs = (map_arg(x, values.__getitem__) for x in (part.args, part.kwargs))
                values[part] = call(part, args, kwargs)
    return values[node].detach().clone()


def _store(network: Network, node: fx.Node, value: Tensor, name: str) -> None:
    """Replace a computed value by a parameter, after removing its parts, which frees their name."""
    with network.graph.inserting_before(node):
        stored = network.graph.create_node("get_attr", "pending", name=name.replace(".", "_"))
    stored.meta["val"] = value
    node.replace_all_uses_with(stored)
    network.drop_unread()
    stored.target = free_name(network.module, name)
    set_tensor(network.module, stored.target, nn.Parameter(value))


def _owner(parts: list[fx.Node]) -> str:
    """The innermost module that holds all stored tensors among the parts."""
    names = [str(part.target).partition("parametrizations.")[0] for part in _stored(parts)]
    levels = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return ".".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))


def _names(parts: list[fx.Node]) -> str:
    return ", ".join(str(part.target) for part in _stored(parts)) or "constants"


def _stored(parts: list[fx.Node]) -> list[fx.Node]:
    return [part for part in parts if part.op == "get_attr"]


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
    """Group BatchNorms that fold into the layer before them by the weight that results.

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
    return layer.computed and f"{layer.name} cannot take it: {layer.computed}"


def _describe(node: fx.Node) -> str:
    kinds = {"placeholder": "an input of the network", "output": "the output of the network"}
    return kinds.get(node.op, f"{node.name} ({node.target})")


def _fold_behind(norms: list[BatchNorm]) -> Applied:
    """Fold γ (W x + b − μ) / √(σ² + ε) + β in all calls that share W, b and BatchNorm."""
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
    first.set_grouped_weight(weight * per_output(scale, weight))
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
    """Fold W (scale · x + shift) + b in every layer that reads the BatchNorm."""
    scale, shift = norm.scale_and_shift
    names = []
    for layer in [Layer(user, norm.network) for user in norm.node.users]:
        layer.own_weight()
        weight = layer.grouped_weight()
        added = expected_response(weight, shift, weight.new_ones(weight.shape[3:]))
        layer.add_to_bias(added)
        layer.set_grouped_weight(weight * per_input(scale, weight))
        names.append(layer.name)
    record = Applied(
        norm.name, "fold", f"folded into {', '.join(names)} behind it", _numbers(scale)
    )
    norm.node.replace_all_uses_with(norm.input)
    norm.network.graph.erase_node(norm.node)
    return record


def _numbers(scale: Float[Tensor, " channels"]) -> dict[str, float]:
    return {
        "channels": float(len(scale)),
        "smallest scale": float(scale.abs().min()),
        "largest scale": float(scale.abs().max()),
    }
