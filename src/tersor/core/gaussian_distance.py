"""How far two Gaussians are apart: the Bhattacharyya distance.

    D = ¼ (μ₁ − μ₂)² / (σ₁² + σ₂²) + ½ ln( (σ₁² + σ₂²) / (2 σ₁ σ₂) )

It is 0 if both are equal and grows with the logarithm of a ratio of their widths, so one channel
that is far off does not outweigh all others. Bhattacharyya 1943, as in Kailath 1967.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def gaussian_distance(
    mean: Float[Tensor, " channels"],
    var: Float[Tensor, " channels"],
    other_mean: Float[Tensor, " channels"],
    other_var: Float[Tensor, " channels"],
) -> Float[Tensor, " channels"]:
    """Measure the distance of two Gaussians in each channel.

    Args:
        mean: Mean of the first.
        var: Variance of the first, above 0.
        other_mean: Mean of the second.
        other_var: Variance of the second, above 0.
    """
    both = var + other_var
    shift = (mean - other_mean).square() / (4 * both)
    # ln of the ratio of arithmetic to geometric mean; logarithms first, so nothing overflows
    return shift + 0.5 * (torch.log(both / 2) - 0.5 * (torch.log(var) + torch.log(other_var)))
