"""Chooses the bits of an activation: those of its readers.

A value that a layer reads with 2 bits and an addition with 8 is rounded to 8 bits, and again to 2
in front of the layer. So the shortcut of a residual network keeps its 8 bits, as in papers that
speak of 2-bit activations.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import fx

from tersor.graph.nodes import operand
from tersor.quant.placement.integer_values import Flow


def read_widths(
    flow: Flow, edges: Iterable[fx.Node], width: Mapping[fx.Node, int]
) -> dict[fx.Node, int]:
    """Choose the bits of every quantized activation: the largest number that a reader asks for.

    Ops that only move values have no bits of their own: their readers are asked instead. If no call
    with bits reads a value, such as an output of the network, the call that computes it decides.

    Args:
        flow: The values that are integers.
        edges: The values that are quantized.
        width: Call → bits of its inputs.

    Returns:
        Origin of the value → bits; values that are absent have the bits of the target.
    """
    wanted: dict[fx.Node, list[int]] = defaultdict(list)
    found: dict[fx.Node, int] = {}
    for node in edges:
        origin = flow.origin(node)
        readers = [user for user in node.users if user in width]
        wanted[origin] += [width[r] for r in readers if flow.origin(r) is not origin]
    for origin, widths in wanted.items():
        if widths:
            found[origin] = max(widths)
        elif origin in width:
            found[origin] = width[origin]
    return found


def narrow_readers(
    flow: Flow, given: Mapping[fx.Node, int], width: Mapping[fx.Node, int]
) -> dict[tuple[fx.Node, int], list[fx.Node]]:
    """Find layers that ask for fewer bits than their input has, because of its other readers.

    Args:
        flow: The values that are integers.
        given: Origin of a value → its bits; see `read_widths`.
        width: Call → bits of its inputs.

    Returns:
        `(value, bits)` → layers.
    """
    found: dict[tuple[fx.Node, int], list[fx.Node]] = defaultdict(list)
    for value in flow.values:
        for layer in value.users:
            reads = layer in flow.layers and layer in width and operand(layer) is value
            if reads and width[layer] < given.get(flow.origin(value), 0):
                found[value, width[layer]].append(layer)
    return found
