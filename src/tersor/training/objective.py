"""The objective of training: the user's loss, or the distance to the float network.

    KL(softmax(t / T) ‖ softmax(y / T)) · T²     logits y, with t those of the float network
    ‖y − t‖² / n                                 other outputs, added up

Distillation: Hinton et al., arXiv 1503.02531, §2. With it, no labels are needed.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tersor.data.outputs.outputs import Outputs, floats
from tersor.names import Distance

Targets = Any  # what the user's batches hold besides the inputs
Loss = Callable[[Outputs, Targets], Tensor]  # → 0-d


def divergence(
    outputs: Float[Tensor, "samples classes *positions"],
    wanted: Float[Tensor, "samples classes *positions"],
    temperature: float,
) -> Float[Tensor, ""]:
    """KL(softmax(t / T) ‖ softmax(y / T)) · T², averaged over the samples and positions.

    Args:
        outputs: y.
        wanted: t.
        temperature: T.
    """
    rows = (x.float().movedim(1, -1).flatten(0, -2) for x in (outputs, wanted))
    got, target = (F.log_softmax(x / temperature, dim=1) for x in rows)
    return temperature**2 * F.kl_div(got, target, reduction="batchmean", log_target=True)


def are_logits(outputs: Outputs) -> bool:
    """Whether outputs are a single tensor `[samples, classes]`."""
    found = floats(outputs)
    return len(found) == 1 and found[0].ndim == 2


class Distillation(nn.Module):
    """The distance between the outputs of a network and those of the float network.

    Attributes:
        teacher: The float network.
        temperature: T.
        kind: `"kl"` for logits, `"mse"` for anything else, `"auto"`: the first if the output is a
            single tensor `[samples, classes]`.
    """

    def __init__(self, teacher: nn.Module, temperature: float, kind: Distance = "auto") -> None:
        super().__init__()
        self.teacher = teacher
        self.temperature = temperature
        self.kind = kind

    @torch.no_grad()
    def targets(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute the outputs of the float network."""
        return self.teacher(*args, **kwargs)

    def forward(self, outputs: Any, targets: Any) -> Float[Tensor, ""]:
        """The loss."""
        pairs = list(zip(floats(outputs), floats(targets), strict=True))
        if self.kind == "kl" or (self.kind == "auto" and are_logits(outputs)):
            return torch.stack([divergence(y, t, self.temperature) for y, t in pairs]).sum()
        return torch.stack([F.mse_loss(y.float(), t.float()) for y, t in pairs]).sum()
