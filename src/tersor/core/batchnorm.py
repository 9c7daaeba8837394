"""BatchNorm in inference is one affine map per channel.

    y = γ · (x − μ) / √(σ² + ε) + β  =  scale · x + shift
    scale = γ / √(σ² + ε),   shift = β − μ · scale

Since training normalizes `x` to mean 0 and variance 1, `y` has mean β and standard deviation |γ|.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def scale_and_shift(
    gamma: Float[Tensor, " channels"],
    beta: Float[Tensor, " channels"],
    mean: Float[Tensor, " channels"],
    var: Float[Tensor, " channels"],
    eps: float,
) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Compute the affine map `scale · x + shift` that a BatchNorm is in inference.

    Args:
        gamma: Its weight.
        beta: Its bias.
        mean: Running mean μ of the input.
        var: Running variance σ² of the input.
        eps: The ε that keeps the square root away from 0.

    Returns:
        Scale and shift per channel.
    """
    scale = gamma / torch.sqrt(var + eps)
    return scale, beta - mean * scale
