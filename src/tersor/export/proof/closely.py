"""How many samples all models run in a verification: the file as it is, the simulation, and others.

They show that the file is right, which few samples tell. All samples run in the file as users run
it and in the float model, since they show what quantization costs.
"""

from tersor.graph.costs import costs, total
from tersor.graph.network import Network

MOST = 64
_WORK = 4 * 10**10  # multiplications of all these samples: those of 2 in ViT-B


def closely(simulation: Network | None) -> int:
    """Tell how many samples all models run.

    Args:
        simulation: The quantized network, if there is one.
    """
    if simulation is None:
        return MOST
    each = total(costs(simulation).values()).macs
    return max(1, min(MOST, _WORK // max(each, 1)))
