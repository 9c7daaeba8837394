"""Layers that are computed in floating point, though their weights may be integers in the file.

    q = round(w / s)      in the file: 8 or 16 bits, one scale s per output channel
    ŵ = q s               computed once, when the runtime loads the file

A layer without an integer kernel, or faster without one, runs as before, and its weights take a
quarter of their space; or half of it, where it computes in float so that the outputs are accurate.
What a user excludes stays as it is.
"""

from collections.abc import Collection, Iterable

from torch import fx

from tersor.core.grid import Grid
from tersor.errors import InvalidInputError, UnsupportedError
from tersor.graph.carried import CARRIED, carried_nodes, part_name, part_ops
from tersor.graph.layers import Layer
from tersor.graph.network import Applied, Network, Skipped
from tersor.quant.placement.gains import times
from tersor.quant.placement.integer_values import Flow
from tersor.quant.scheme import INT8, Scheme

SLOWER = "it is faster in floating point than in integers with the conversions around it"
STORED = "weights stored in {} bits; the layer computes in float"
NEAREST = "it computes in float; its weights are stored as the nearest integers"
#: Bytes of the two nodes that make floats of integers, with their names.
_NODES = 400
_TOLD = 3  # weights that an error names
_CALL = "call_function"
_WEIGHT, _SCALE = 4, 4  # bytes of each weight in float, and of the scale of an output channel


def refusal(layer: Layer, scheme: Scheme, computed: Collection[fx.Node]) -> str | None:
    """Why the target cannot compute a layer in integers; None if it can.

    Args:
        layer: The layer.
        scheme: The target.
        computed: Everything that depends on an input of the network.
    """
    if not layer.has_stored_weight:
        return "its weight is computed from the input"
    if layer.input not in computed:
        return "its input does not depend on the inputs of the network"
    if not scheme.computes_integers:
        return f"with {scheme.name} every layer computes in float"
    if layer.node.target not in scheme.kernels:
        kind = "transposed convolutions" if layer.is_transposed else str(layer.node.target)
        return f"{scheme.name} has no integer kernel for {kind}"
    return None


def leave_slower(
    network: Network, scheme: Scheme, chosen: list[Layer], left_out: set[fx.Node]
) -> list[Layer]:
    """Find the layers that integers would make slower, and record them.

    Args:
        network: The network, without quantizers.
        scheme: The target.
        chosen: The layers that it could compute in integers; they stay that if none would remain.
        left_out: Calls that stay in floating point; those that integers make slower are added.
    """
    if scheme.speed is None or not chosen:
        return []
    flow = Flow(network, scheme, {layer.node for layer in chosen}, left_out)
    predicted = times(network, flow, chosen, scheme.speed)
    found = [layer for layer in chosen if layer.node in predicted.slower]
    if not predicted.is_worth_it or len(found) == len(chosen):
        return []
    left_out |= predicted.slower
    network.records += [Skipped(layer.name, "place", SLOWER) for layer in found]
    return found


def check_stored(
    scheme: Scheme, weights: Collection[object], activations: Collection[object]
) -> None:
    """Refuse bits with a scheme whose layers all compute in floating point.

    Args:
        scheme: The target.
        weights: The layers whose weights have bits of their own.
        activations: The layers whose inputs have.

    Raises:
        InvalidInputError: Bits were given, other than those that weights are stored in.
    """
    if scheme.computes_integers:
        return
    stored = INT8.bits
    option = ""
    if weights or scheme.weight.bits != stored:
        option = "weights= (--weights)"
    if activations or scheme.few or scheme.activation.bits != stored:
        option = "activations= (--activations)"
    if option:
        raise InvalidInputError(
            f"{option} has no effect with {scheme.name!r}, where layers compute in float and store "
            f"their weights in {stored} bits; leave it out"
        )


def store_in_integers(
    network: Network, scheme: Scheme, candidates: Iterable[Layer], grid: Grid = INT8
) -> list[tuple[Layer, Grid]]:
    """Choose the float layers whose weights become such integers in the file, and record them.

    Args:
        network: Gets the records.
        scheme: The target.
        candidates: Layers that stay in floating point for any reason but the user's wish.
        grid: The integers.
    """
    layers = {layer.node: layer for layer in candidates if layer.has_stored_weight}
    if not scheme.cast_weights:
        return []
    found = [layer for layer in layers.values() if _is_smaller(layer, layers, grid)]
    for layer in found:
        numbers = {"weights": float(layer.weight.numel())}
        network.records.append(Applied(layer.name, "place", STORED.format(grid.bits), numbers))
    return [(layer, grid) for layer in found]


def _is_smaller(layer: Layer, among: Collection[fx.Node], grid: Grid) -> bool:
    """Whether integers take less space: nothing else needs the floats, and there are enough."""
    channels = layer.weight.shape[layer.out_axis]
    saved = (_WEIGHT - grid.bits // 8) * layer.weight.numel() - _SCALE * channels
    return saved > _NODES and all(reader in among for reader in layer.weight_node.users)


def has_weights(network: Network) -> bool:
    """Whether a network stores anything that could be the weight of a layer.

    Args:
        network: The network.
    """
    stored = map(network.tensor, network.graph.find_nodes(op="get_attr"))
    return any(carried_nodes(network)) or any(x.numel() > 1 or x.ndim > 1 for x in stored)


def nothing_to_quantize(network: Network, scheme: Scheme) -> UnsupportedError:
    """The error for a network that has nothing to quantize.

    Args:
        network: The network.
        scheme: The target.
    """
    return UnsupportedError(
        "there is nothing to quantize: the model has no convolution or linear layer that is "
        f"not excluded and that {scheme.name} computes in integers"
        f"{_weights(network, scheme)}{_hidden(network)}"
    )


def _weights(network: Network, scheme: Scheme) -> str:
    """Say which weights there are, the largest ones first, and why none becomes an integer."""
    reasons = {r.layer: r.reason for r in network.records if isinstance(r, Skipped)}
    stored = [node for node in network.nodes() if node.op == "get_attr"]
    stored = [node for node in stored if network.tensor(node).ndim > 1]
    stored.sort(key=lambda node: -network.tensor(node).numel())
    told = []
    for node in stored[:_TOLD]:
        name, count = str(node.target), network.tensor(node).numel()
        kinds = sorted({_kind(user) for user in node.users if user.op == _CALL})
        plain = f"only {' and '.join(kinds) or 'the output'} reads it, which is no layer"
        reason = reasons.get(name.removesuffix(".weight"), plain)
        if scheme.cast_weights and (_WEIGHT - 1) * count <= _NODES:
            reason = "that is too few to take less space as integers"
        told.append(f"{name!r} has {count:,} numbers, but {reason}")
    more = len(stored) - len(told)
    return f". {'; '.join(told)}{f'; and {more} more' * (more > 0)}" if told else ""


def _kind(node: fx.Node) -> str:
    return part_ops(node) if node.target is CARRIED else str(node.target).split(".")[1]


def _hidden(network: Network) -> str:
    """Say how layers inside an `If` come to light."""
    parts = [part_name(node) for node in carried_nodes(network) if "If" in part_ops(node)]
    if not parts:
        return ""
    return (
        f". The layers are inside the If node {parts[0]!r}: give the input that it depends on a "
        "value, as in fix={'sr': 16000}, on the command line --fix sr=16000"
    )
