"""θ̄ ← d · θ̄ + (1 − d) · θ: a moving average of parameters, kept next to the trained ones.

The decay d rises as min(d, (1 + t) / (10 + t)) with the step t, so that the first values fade.
"""

import torch
from torch import Tensor, nn


class Average:
    """The moving average of all parameters of a module.

    Attributes:
        decay: d.
        values: Name → average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Update the average with the current parameters.

        Args:
            module: The module.
            step: Number of previous steps.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            self.values[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def store(self, module: nn.Module) -> None:
        """Store the average in the module."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.values[name])

    def state(self) -> dict[str, Tensor]:
        """The whole state, for a checkpoint."""
        return dict(self.values)
