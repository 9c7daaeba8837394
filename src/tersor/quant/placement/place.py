"""Places quantizers on the edges that the target computes in integers; all are off at first.

Activations: after every value that `tersor.quant.placement.integer_values` finds; additions in
floating point get a value that was made in floating point as it was. A value that is only moved
shares the quantizer module of its origin, and a layer that needs fewer bits than other readers of a
value rounds it once more. Weights: one quantizer per stored tensor, for all its readers. Biases: on
the grid of the accumulator, whose scale is the product of the scales of input and weight. Embedding
tables: 8 bits per column, so that only the rows found become floats again. Recurrent layers, and
others that stay in float, and products with a stored tensor that are no layers: the weights are
stored in 8 bits, or in 16 where the outputs need it, and the layer computes in float.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import torch
from torch import fx

from tersor.core.grid import Grid
from tersor.errors import InvalidModelError
from tersor.graph.carried import carried_nodes, part_name, part_ops, part_weights
from tersor.graph.layers import Layer, layers
from tersor.graph.network import Network, Skipped
from tersor.graph.nodes import argument, computed_from_inputs, operand, set_argument
from tersor.quant.placement.few_bits import asked_widths
from tersor.quant.placement.float_layers import (
    check_stored,
    leave_slower,
    nothing_to_quantize,
    refusal,
    store_in_integers,
)
from tersor.quant.placement.kept import leave_accurate
from tersor.quant.placement.patterns import excluded
from tersor.quant.placement.quantized_values import add_quantizer, insert_call, quantize_values
from tersor.quant.placement.quantizer import BiasQuantize, FakeQuantize, quantizer_at
from tersor.quant.placement.recurrent import Recurrent, choose_recurrent
from tersor.quant.placement.stored_products import StoredProduct, choose_products
from tersor.quant.scheme import Scheme, with_bits


def place(
    network: Network,
    scheme: Scheme,
    exclude: Iterable[str] = (),
    bits: Mapping[str, int] | None = None,
    activations: Mapping[str, int] | None = None,
    kept: Collection[str] = (),
) -> frozenset[str]:
    """Insert a switched-off quantizer on every edge that the target computes in integers.

    Args:
        network: Edited in place.
        scheme: The target runtime.
        exclude: Names of layers and sub-modules that stay in floating point; see
            `tersor.quant.placement.patterns`.
        bits: Name of a layer or sub-module → bits of its weights, if not the scheme's; if several
            patterns match, the last one counts.
        activations: Name → bits of its inputs, likewise; see `tersor.quant.placement.read_widths`.
        kept: Names of calls that stay in floating point so that the outputs are accurate.

    Returns:
        The names of all calls that stay in floating point though they could be integers.

    Raises:
        InvalidModelError: The network already has quantizers.
        InvalidInputError: A pattern matches nothing, or a width is out of bounds.
        UnsupportedError: The network has no layer that could be quantized.
    """
    if quantizers(network):
        raise InvalidModelError("the network already has quantizers; start from the float model")
    check_stored(scheme, bits or {}, activations or {})
    left_out = excluded(network, exclude)
    width, reading = asked_widths(network, scheme, bits or {}, activations or {})
    recurrent = choose_recurrent(network, left_out)
    chosen, floating = _choose(network, scheme, left_out)
    _record_carried(network, {layer.node for layer in recurrent})
    if not (width or reading):
        slower = leave_slower(network, scheme, chosen, left_out)
        chosen, floating = [x for x in chosen if x not in slower], floating + slower
    accurate = leave_accurate(network, kept, chosen, left_out)
    chosen = [x for x in chosen if x not in accurate]
    stored = store_in_integers(network, scheme, [*floating, *accurate])
    products = choose_products(network, left_out) if scheme.cast_weights else []
    if not (chosen or recurrent or stored or products):
        raise nothing_to_quantize(network, scheme)
    names: dict[fx.Node, str] = {}
    of_input = quantize_values(network, scheme, chosen, left_out, reading)
    _quantize_weights(scheme, chosen, stored, width, names)
    for layer in chosen if scheme.integer_bias else ():
        _quantize_bias(layer, of_input[layer.node], names[layer.weight_node])
    _quantize_others(network, scheme, [*recurrent, *products], names)
    if scheme.lookups:
        _quantize_tables(network, scheme, left_out)
    network.finish()
    return frozenset(node.name for node in left_out)


def quantizers(network: Network) -> list[tuple[fx.Node, FakeQuantize]]:
    """List every node that quantizes an activation or a weight, with its module."""
    found = ((node, quantizer_at(network, node)) for node in network.nodes())
    return [(node, quantizer) for node, quantizer in found if quantizer is not None]


def weight_quantizer(layer: Layer) -> FakeQuantize | None:
    """The quantizer between a layer and its weight, if there is one."""
    return quantizer_at(layer.network, argument(layer.node, "weight"))


def _choose(
    network: Network, scheme: Scheme, left_out: set[fx.Node]
) -> tuple[list[Layer], list[Layer]]:
    """Choose the layers to quantize, and record each of the others; these are returned as well.

    Those that the user excludes are not.
    """
    chosen, others, computed = [], [], set(computed_from_inputs(network.graph))
    for layer in layers(network):
        reason = refusal(layer, scheme, computed)
        if layer.node in left_out:
            reason = "excluded by the user"
        elif reason is not None:
            others.append(layer)
        if reason is None:
            chosen.append(layer)
        else:
            network.records.append(Skipped(layer.name, "place", reason))
    return chosen, others


def _record_carried(network: Network, stored: set[fx.Node]) -> None:
    """Record each other part that onnxruntime computes, with its number of weights."""
    for node in carried_nodes(network):
        if node in stored:
            continue
        weights = part_weights(network, node)
        has = f"; it has {weights:,} weights" if weights else ""
        reason = f"{part_ops(node)} is carried over from the file and stays in float{has}"
        network.records.append(Skipped(part_name(node), "place", reason))


def _quantize_weights(
    scheme: Scheme,
    chosen: list[Layer],
    floating: list[tuple[Layer, Grid]],
    width: Mapping[fx.Node, int],
    names: dict[fx.Node, str],
) -> None:
    """Quantize the weights of layers in integers, and of those that only store them so."""
    sharing: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for layer in (*chosen, *(layer for layer, _ in floating)):
        sharing[layer.weight_node].append(layer.node)
    for layer in chosen:
        own = [width[reader] for reader in sharing[layer.weight_node] if reader in width]
        grid = with_bits(scheme.weight, max(own, default=None), f"weights of {layer.name!r}")
        _quantize_weight(layer, scheme.per_channel, grid, sharing[layer.weight_node], names)
    for layer, grid in floating:
        _quantize_weight(layer, scheme.per_channel, grid, sharing[layer.weight_node], names, True)


def _quantize_weight(
    layer: Layer,
    per_channel: bool,
    grid: Grid,
    sharing: list[fx.Node],
    names: dict[fx.Node, str],
    stored_only: bool = False,
) -> None:
    """Quantize a stored weight for the layers sharing it; other readers keep the float tensor."""
    stored = layer.weight_node
    if stored in names:
        return
    # The output channels of a grouped transposed convolution lie on two axes of its weight.
    per_channel = per_channel and not (layer.is_transposed and layer.groups > 1)
    quantizer = FakeQuantize(grid, layer.out_axis if per_channel else None, stored_only)
    names[stored] = add_quantizer(layer.network, str(stored.target), quantizer)
    edge = insert_call(stored, names[stored])
    for reader in sharing:
        set_argument(reader, "weight", edge)


def _quantize_bias(layer: Layer, of_input: str, of_weight: str) -> None:
    """Put the bias on the grid of the accumulator; a layer without a bias gets zeros."""
    network, node = layer.network, layer.node
    layer.ensure_bias()
    if layer.computed:
        return  # it stays in floating point
    edges = (of_input, of_weight)
    name = add_quantizer(
        network, f"{layer.name}.bias", BiasQuantize(*(_get(network, e) for e in edges))
    )
    with network.graph.inserting_before(node):
        scales = [network.graph.get_attr(f"{edge}.scale") for edge in edges]
        bias = network.graph.call_module(name, (layer.bias_node, *scales))
    set_argument(node, "bias", bias)


def _quantize_others(
    network: Network,
    scheme: Scheme,
    others: list[Recurrent | StoredProduct],
    names: dict[fx.Node, str],
) -> None:
    """Store the weights of calls that are no layers in 8 bits; calls that share one share its grid.

    The gates of all directions of a recurrent layer have the same scales, since ONNX has one axis
    for them.
    """
    grid = replace(scheme.weight, bits=8)
    for layer in others:
        for stored in layer.weights:
            if stored in names:
                continue
            axis = layer.axis if scheme.per_channel else None
            quantizer = FakeQuantize(grid, axis, stored_only=True)
            names[stored] = add_quantizer(network, str(stored.target), quantizer)
            edge = insert_call(stored, names[stored])
            stored.replace_all_uses_with(edge, delete_user_cb=lambda user, e=edge: user is not e)


def _quantize_tables(network: Network, scheme: Scheme, left_out: set[fx.Node]) -> None:
    grid = replace(scheme.weight, bits=8)  # a table of fewer bits is no smaller in the file
    found = network.graph.find_nodes(op="call_function", target=torch.ops.aten.embedding.default)
    for node in found:
        table = operand(node)
        if table.op != "get_attr":
            continue
        name, reason = str(table.target), None
        if node in left_out:
            reason = "excluded by the user"
        elif len(table.users) > 1:
            reason = "its table has other readers, so an integer copy would only take more space"
        elif not bool(torch.stack(network.tensor(table).aminmax()).isfinite().all()):
            reason = "its table has infinite values, such as those that hide a token"
        if reason is not None:
            network.records.append(Skipped(name, "place", reason))
        else:
            quantizer = FakeQuantize(grid, 1 if scheme.per_channel else None, stored_only=True)
            set_argument(
                node, "weight", insert_call(table, add_quantizer(network, name, quantizer))
            )


def _get(network: Network, name: str) -> FakeQuantize:
    module = network.module.get_submodule(name)
    assert isinstance(module, FakeQuantize)
    return module
