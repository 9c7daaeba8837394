"""Training or inference mode, which `torch.export` writes into the calls of a graph."""

import torch

from tersor.graph.network import Network
from tersor.graph.ops import DROPOUTS, STATISTICS_NORMS

# Arguments: input, p, 2 train
_DROPOUTS = DROPOUTS | {
    torch.ops.aten.alpha_dropout.default,
    torch.ops.aten.feature_alpha_dropout.default,
}


def set_training(network: Network, training: bool) -> None:
    """Switch normalization and dropout between training and inference.

    `torch.export` bakes the mode into the arguments of the ATen calls, so `module.train()` alone
    changes nothing. A norm without running statistics uses those of the batch in either mode.
    """
    for node in network.nodes():
        if node.target in STATISTICS_NORMS and node.args[3] is not None:
            node.update_arg(5, training)
        elif node.target in _DROPOUTS:
            node.update_arg(2, training)
    torch.nn.Module.train(network.module, training)
    network.module.recompile()
