"""How alike neighbouring pixels are: in photographs very much, in noise not at all.

r = Σ (x_i − x̄)(x_{i+1} − x̄) / Σ (x_i − x̄)²      along the last axis, per picture and colour
"""

from jaxtyping import Float
from torch import Tensor


def neighbour_correlation(x: Float[Tensor, "n c h w"]) -> float:
    """Measure the correlation of each pixel with the next one: 1 for smooth pictures, 0 for noise.

    Args:
        x: Pictures, at least 2 pixels wide.

    Returns:
        The mean over pictures and colours; 0 if all of their pixels are equal.
    """
    centred = x.double() - x.double().mean((2, 3), keepdim=True)
    power = centred.square().sum((2, 3))
    both = (centred[..., 1:] * centred[..., :-1]).sum((2, 3))
    return float((both / power.clamp(min=1e-30)).mean())
