"""How many bits an activation gets: those of what reads it.

A value that a layer reads with 2 bits and an addition with 8 is rounded to 8, and again to 2 on
its way into the layer: the shortcut of a residual network keeps its 8 bits, as it does where papers
speak of 2-bit activations.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import fx

from tersor.graph.nodes import operand
from tersor.quant.integer_values import Flow


def read_widths(
    flow: Flow, edges: Iterable[fx.Node], width: Mapping[fx.Node, int]
) -> dict[fx.Node, int]:
    """The bits of every activation that is quantized: those of the reader that wants most.

    What only moves values has no say: the value is looked for behind it. What no call with bits
    reads, as an output of the network, has those of the call that computes it.

    Args:
        flow: The values that are integers.
        edges: Those that are quantized.
        width: Call → bits of what it reads.

    Returns:
        Origin of the value → bits; those without have the bits of the target.
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
    """The layers that want fewer bits than their input has, because of its other readers.

    Args:
        flow: The values that are integers.
        given: Origin of a value → its bits; see `read_widths`.
        width: Call → bits of what it reads.

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
