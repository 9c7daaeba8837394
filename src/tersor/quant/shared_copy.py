"""A copy of a network that holds no tensors of its own."""

import copy

from torch import Tensor, nn

from tersor.graph.network import Network, quiet_copy


def shared_copy(network: Network, trainable: bool = True) -> Network:
    """Copy a network whose tensors stay shared; passes replace tensors, and change none in place.

    Training changes tensors in place, so it starts from `Network.copy`.

    Args:
        network: The network. Editing it does not touch the copy, and the other way round.
        trainable: Whether what can be trained can be trained in the copy, too.
    """
    tensors = [*network.module.parameters(), *network.module.buffers()]
    shared = {id(tensor): tensor if trainable else _fixed(tensor) for tensor in tensors}
    with quiet_copy():
        return copy.deepcopy(network, shared)


def _fixed(tensor: Tensor) -> Tensor:
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(tensor.detach(), requires_grad=False) if is_parameter else tensor
