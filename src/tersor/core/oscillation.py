"""Weights that oscillate between two integers: how often they do, and two remedies.

    o_t = [w_int changes, against its last change]                                    §3.3
    f_t = m · o_t + (1 − m) · f_{t−1}
    freezing: if f_t > threshold, w_int is fixed at round(EMA of w_int), for good       §4.2
    damping:  λ · ‖clip(w, s·n, s·p) − ŵ‖², no gradient through ŵ                     §4.1

Overcoming Oscillations, arXiv 2203.11086. With the straight-through gradient, a weight whose
optimum lies between two integers crosses the threshold again and again. This spoils statistics and
keeps training from converging, above all in kernels with few weights.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass
class Oscillation:
    """The state of the integers of one weight tensor.

    Attributes:
        integers: w_int of the previous step.
        direction: Sign of its last change, 0 before the first.
        frequency: f.
        mean: The moving average of w_int.
    """

    integers: Float[Tensor, "*shape"]
    direction: Float[Tensor, "*shape"]
    frequency: Float[Tensor, "*shape"]
    mean: Float[Tensor, "*shape"]

    @staticmethod
    def begin(integers: Float[Tensor, "*shape"]) -> "Oscillation":
        """The initial state: nothing has moved yet.

        Args:
            integers: w_int.
        """
        still = torch.zeros_like(integers)
        return Oscillation(integers, still, still.clone(), integers.clone())

    def observe(self, integers: Float[Tensor, "*shape"], momentum: float) -> None:
        """Update the state with the integers of the next step.

        Args:
            integers: w_int.
            momentum: m.
        """
        change = (integers - self.integers).sign()
        oscillates = (change * self.direction < 0).to(change.dtype)
        self.frequency = self.frequency.lerp(oscillates, momentum)
        self.mean = self.mean.lerp(integers, momentum)
        self.direction = torch.where(change != 0, change, self.direction)
        self.integers = integers

    def exceeds(self, threshold: float) -> Bool[Tensor, "*shape"]:
        """Mark where the frequency is above a threshold."""
        return self.frequency > threshold


def distance_to_grid(
    weight: Float[Tensor, "*shape"],
    rounded: Float[Tensor, "*shape"],
    low: Float[Tensor, "..."],
    high: Float[Tensor, "..."],
) -> Float[Tensor, ""]:
    """‖clip(w, s·n, s·p) − ŵ‖², with no gradient through ŵ.

    Args:
        weight: w.
        rounded: ŵ.
        low: s·n, in a shape that broadcasts.
        high: s·p, in a shape that broadcasts.
    """
    clipped = weight.maximum(low.detach()).minimum(high.detach())
    return (clipped - rounded.detach()).square().sum()
