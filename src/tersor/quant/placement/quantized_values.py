"""Places quantizers after the values that a target computes in integers.

A value that is only moved shares the quantizer module of its origin, and a layer that needs fewer
bits than other readers of a value rounds it once more. Some targets round what a layer reads row by
row instead: see `tersor.quant.placement.row_ranges`.
"""

from collections.abc import Collection, Mapping

import torch
from torch import fx

from tersor.graph.layers import Layer
from tersor.graph.network import Network, free_name
from tersor.graph.nodes import operand, set_argument
from tersor.quant.placement.integer_values import Flow
from tersor.quant.placement.quantizer import FakeQuantize
from tersor.quant.placement.read_widths import narrow_readers, read_widths
from tersor.quant.placement.row_ranges import check_rows, round_rows
from tersor.quant.scheme import Scheme, with_bits


def quantize_values(
    network: Network,
    scheme: Scheme,
    chosen: Collection[Layer],
    left_out: Collection[fx.Node],
    reading: Mapping[fx.Node, int],
) -> dict[fx.Node, str]:
    """Place a quantizer after every value that is computed in integers.

    Args:
        network: Edited in place.
        scheme: The target.
        chosen: The layers in integers.
        left_out: Calls that stay in floating point.
        reading: Call → bits of its inputs, where they are not the scheme's.

    Returns:
        Call of a layer → name of the quantizer of its input; none if rows have ranges of their own.

    Raises:
        InvalidInputError: A width is out of bounds, or the target has no such kernels.
    """
    if scheme.by_row:
        check_rows(scheme, reading)
        round_rows(network, chosen, scheme.activation)
        return {}
    flow = Flow(network, scheme, {layer.node for layer in chosen}, left_out)
    names: dict[fx.Node, str] = {}
    edges = [node for node in flow.values if flow.is_quantized(node)]
    read = read_widths(flow, edges, reading)
    narrow = narrow_readers(flow, read, reading)
    for node in edges:
        _quantize_value(network, flow, node, names, read.get(flow.origin(node)))
    of_input = {layer.node: names[flow.origin(layer.input)] for layer in chosen}
    return of_input | _quantize_again(network, flow, narrow)


def _quantize_value(
    network: Network, flow: Flow, node: fx.Node, names: dict[fx.Node, str], bits: int | None
) -> None:
    name = names.get(flow.origin(node))
    if name is None:
        grid = with_bits(flow.scheme.activation, bits, f"activations of {node.name!r}")
        name = add_quantizer(network, node.name, FakeQuantize(grid))
    names[node] = name
    quantizer = insert_call(node, name)
    rounded = {user for user in node.users if not flow.reads_floats(user, node)} - {quantizer}
    node.replace_all_uses_with(quantizer, delete_user_cb=rounded.__contains__)


def _quantize_again(
    network: Network, flow: Flow, narrow: Mapping[tuple[fx.Node, int], list[fx.Node]]
) -> dict[fx.Node, str]:
    """Round a value once more, to fewer bits, for some of the layers that read it."""
    names: dict[tuple[fx.Node, int], str] = {}
    of_input: dict[fx.Node, str] = {}
    for (value, bits), readers in narrow.items():
        key = (flow.origin(value), bits)
        if key not in names:
            grid = with_bits(flow.scheme.activation, bits, f"activations of {key[0].name!r}")
            names[key] = add_quantizer(network, f"{key[0].name}_{bits}_bits", FakeQuantize(grid))
        again = insert_call(operand(readers[0]), names[key])
        for reader in readers:
            set_argument(reader, "input", again)
            of_input[reader] = names[key]
    return of_input


def add_quantizer(network: Network, name: str, module: torch.nn.Module) -> str:
    """Add a module to those of the quantizers.

    Args:
        network: Gets the module.
        name: What it quantizes.
        module: The module.

    Returns:
        Its name in the network.
    """
    leaf = name.replace(".", "_")
    taken = hasattr(torch.nn.Module, leaf)  # a value may be named `to`, or `float`
    target = free_name(network.module, f"quantizers.{leaf}{'_' * taken}")
    network.module.add_submodule(target, module)
    return target


def insert_call(node: fx.Node, name: str) -> fx.Node:
    """Call a module with a value; whoever reads the value is not changed.

    Args:
        node: The value.
        name: Name of the module.
    """
    with node.graph.inserting_after(node):
        quantizer = node.graph.call_module(name, (node,))
    quantizer.meta = dict(node.meta)
    return quantizer
