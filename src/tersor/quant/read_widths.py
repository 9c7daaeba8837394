"""How many bits an activation gets: those of the layer that reads it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import fx

from tersor.quant.flow import Flow


def read_widths(
    flow: Flow, edges: Iterable[fx.Node], width: Mapping[fx.Node, int]
) -> dict[fx.Node, int]:
    """The bits of every activation that is quantized.

    Layers decide, the widest of them; where no layer reads it, other readers do. What only moves
    values has no say: the value is looked for behind it. What no call with bits reads, as an output
    of the network, has those of the call that computes it.

    Args:
        flow: The values that are integers.
        edges: Those that are quantized.
        width: Call → bits of what it reads.

    Returns:
        Origin of the value → bits; those without have the bits of the target.
    """
    by_layers: dict[fx.Node, list[int]] = defaultdict(list)
    by_others: dict[fx.Node, list[int]] = defaultdict(list)
    found: dict[fx.Node, int] = {}
    for node in edges:
        origin = flow.origin(node)
        for reader in node.users:
            if reader not in width or flow.origin(reader) is origin:
                continue
            chosen = by_layers if reader in flow.layers else by_others
            chosen[origin].append(width[reader])
    for node in edges:
        origin = flow.origin(node)
        readers = by_layers.get(origin) or by_others.get(origin)
        if readers:
            found[origin] = max(readers)
        elif origin in width:
            found[origin] = width[origin]
    return found
