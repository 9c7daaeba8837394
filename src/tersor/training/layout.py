"""Channels-last layout: convolutions read all channels of a pixel at once."""

import torch
from torch import nn


def channels_last(module: nn.Module) -> None:
    """Lay out the weights of 2-d convolutions channels-last; later ops adopt the layout.

    Values and shapes stay. Float convolutions train faster this way, on CPUs, too.

    Args:
        module: Edited in place.
    """
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
