"""Channels last: weights laid out so that convolutions read all channels of a pixel at once."""

import torch
from torch import nn


def channels_last(module: nn.Module) -> None:
    """Lay the weights of 2-d convolutions out with their channels last; all that follows them does.

    Values and shapes stay. Convolutions of float networks train faster so, on CPUs too.

    Args:
        module: Edited in place.
    """
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
