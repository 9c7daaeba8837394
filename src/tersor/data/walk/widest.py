"""How many numbers the widest value of a network holds for one sample: what memory depends on."""

import torch

from tersor.graph.costs import batch_size
from tersor.graph.network import Network
from tersor.graph.nodes import computed_from_inputs
from tersor.graph.shapes import shapes


def widest(network: Network) -> int:
    """Count the numbers of the widest value for one sample; what is only stored is none.

    Args:
        network: The network.
    """
    of_all = shapes(network)
    found = (of_all[node] for node in computed_from_inputs(network.graph))
    sizes = [shape.numel() for shape in found if isinstance(shape, torch.Size)]
    return max(1, max(sizes, default=1) // batch_size(network))
