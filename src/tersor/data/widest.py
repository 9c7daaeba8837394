"""How many numbers the widest value of a network holds for one sample: what memory depends on."""

import torch

from tersor.graph.costs import batch_size
from tersor.graph.network import Network
from tersor.graph.shapes import shapes


def widest(network: Network) -> int:
    """Count the numbers of the widest value for one sample.

    Args:
        network: The network.
    """
    computed = ((n, shape) for n, shape in shapes(network).items() if n.op != "get_attr")
    sizes = [shape.numel() for _, shape in computed if isinstance(shape, torch.Size)]
    return max(1, max(sizes, default=1) // batch_size(network))
