"""Outlines a network as names and values, for notebooks."""

from tersor.graph.costs import costs, total
from tersor.graph.layers import layers
from tersor.graph.network import Network


def rows(network: Network) -> list[tuple[str, str]]:
    """Describe a network as names and values.

    Args:
        network: The network.
    """
    cost = total(costs(network).values())
    return [
        ("layers", str(sum(1 for _ in layers(network)))),
        ("MACs", f"{cost.macs:,}"),
        ("parameters", f"{cost.parameters:,}"),
        ("records", str(len(network.records))),
    ]
