"""min E‖r(y) − r(Ŵ x + b)‖² with r(y) = max(y, 0): only the error after a ReLU counts.

arXiv 1505.06798, §3.2. An auxiliary z is pulled towards r(y) after the ReLU, and before it towards
ŷ = Ŵ x + b: min E‖r(y) − r(z)‖² + λ E‖z − ŷ‖². With ŷ fixed, each z has a closed form. With z
fixed, Ŵ and b are a linear fit to z. λ grows in steps, which brings z and ŷ closer together.

Differs from the paper in: any linear fit can be used. Of all steps, the one with the least error
after the ReLU is kept; the first step is the fit to y itself.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Outputs = Float[Tensor, "outputs samples"]
Fit = TypeVar("Fit")

#: λ of each step; the paper uses 0.01, then 1.
PENALTIES = (0.01,) * 5 + (1.0,) * 5


def fit_before_relu(
    fit: Callable[[Tensor], tuple[Fit, Tensor]],
    wanted: Outputs,
    penalties: Sequence[float] = PENALTIES,
) -> tuple[Fit, float]:
    """Find the best of several linear fits, each to another z.

    Args:
        fit: Fits a target; returns the fit and its output ŷ, bias included.
        wanted: y, bias included.
        penalties: λ of each step.

    Returns:
        The fit, and the share of E‖r(y) − E r(y)‖² that it loses.
    """
    target = wanted.clamp(min=0)
    spread = (target - target.mean(1, keepdim=True)).square().sum()
    spread = spread.clamp(min=torch.finfo(spread.dtype).tiny)

    def lost(outputs: Tensor) -> Tensor:
        return (target - outputs.clamp(min=0)).square().sum() / spread

    best, outputs = fit(wanted)
    least = lost(outputs)
    for penalty in penalties:
        found, outputs = fit(auxiliary(wanted, outputs, penalty))
        if (error := lost(outputs)) < least:
            best, least = found, error
    return best, float(least)


def auxiliary(
    wanted: Float[Tensor, "outputs samples"],
    found: Float[Tensor, "outputs samples"],
    penalty: float,
) -> Float[Tensor, "outputs samples"]:
    """z = argmin (r(y) − r(z))² + λ (z − ŷ)², r(y) = max(y, 0): the target in front of a ReLU.

    arXiv 1505.06798, §3.2: z on either side of 0 has a closed form, and the better one is chosen.

    Args:
        wanted: y.
        found: ŷ.
        penalty: λ.
    """
    target = wanted.clamp(min=0)
    below = found.clamp(max=0)
    above = ((penalty * found + target) / (penalty + 1)).clamp(min=0)
    cost_below = target.square() + penalty * (below - found).square()
    cost_above = (target - above).square() + penalty * (above - found).square()
    return torch.where(cost_below < cost_above, below, above)
