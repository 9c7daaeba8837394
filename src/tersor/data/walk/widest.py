"""How many numbers the values of a network hold for one sample: what memory depends on."""

import math

import torch
from torch import fx

from tersor.graph.costs import batch_size
from tersor.graph.network import Network
from tersor.graph.nodes import computed_from_inputs
from tersor.graph.shapes import shapes


def numbers(network: Network) -> dict[fx.Node, int]:
    """Count the numbers of each value for one sample; what is only stored is left out.

    Args:
        network: The network.
    """
    of_all, size = shapes(network), batch_size(network)
    found = {node: of_all[node] for node in computed_from_inputs(network.graph)}
    return {
        node: math.ceil(shape.numel() / size)
        for node, shape in found.items()
        if isinstance(shape, torch.Size)
    }


def widest(network: Network) -> int:
    """Count the numbers of the widest value for one sample.

    Args:
        network: The network.
    """
    return max(1, max(numbers(network).values(), default=1))


def returned(network: Network) -> int:
    """Count the numbers that the network returns for one sample.

    Args:
        network: The network.
    """
    of_all = numbers(network)
    return sum(of_all.get(node, 0) for node in network.graph.output_node().all_input_nodes)
