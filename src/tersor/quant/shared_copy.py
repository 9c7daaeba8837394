"""A copy of a network that holds no tensors of its own."""

import copy

from tersor.graph.network import Network, quiet_copy


def shared_copy(network: Network) -> Network:
    """Copy a network whose tensors stay shared; passes replace tensors, and change none in place.

    Training changes tensors in place, so it starts from `Network.copy`.

    Args:
        network: The network. Editing it does not touch the copy, and the other way round.
    """
    tensors = [*network.module.parameters(), *network.module.buffers()]
    with quiet_copy():
        return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
