"""Samples between two samples of a batch, for training without labels.

    x̃ = λ x + (1 − λ) x_π        λ ~ Beta(α, α), π a permutation of the batch

mixup: Zhang et al., arXiv 1710.09412, §2. Its use in distillation, where the teacher answers for
the mixed sample: Beyer et al., arXiv 2106.05237, §3.

Differs from the paper in: there are no labels to mix, and each sample has a weight of its own, not
each batch.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def partners(
    samples: int, alpha: float
) -> tuple[Int[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Draw π and λ from torch's global random generator.

    Args:
        samples: The number of samples in the batch.
        alpha: α. With 1, λ is uniform; with a small one, most samples stay almost as they are.
    """
    weights = torch.distributions.Beta(alpha, alpha).sample((samples,))
    return torch.randperm(samples), weights


def mixed(
    x: Float[Tensor, "samples *rest"],
    partner: Int[Tensor, " samples"],
    weight: Float[Tensor, " samples"],
) -> Float[Tensor, "samples *rest"]:
    """Compute x̃.

    Args:
        x: A batch.
        partner: π.
        weight: λ.
    """
    shape = [-1, *[1] * (x.ndim - 1)]
    return torch.lerp(x[partner.to(x.device)], x, weight.to(x).reshape(shape))
