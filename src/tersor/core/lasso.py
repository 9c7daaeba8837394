"""min over β of  ½ ‖Y − Σ_u β_u Y_u‖² + λ ‖β‖₁: which channels reproduce an output best.

He et al., arXiv 1707.06168, §3.1: Y_u = X_u W_uᵀ is the contribution of channel u to the output of
the layer that reads it, and Y = Σ_u Y_u. λ is raised until few enough β differ from zero; those
channels stay. The data are needed only through A_uv = E⟨Y_u, Y_v⟩, which follows from the Gram
matrix G of the layer's input:

    A = S (G ∘ WᵀW) Sᵀ,    S_ui = 1 if input i belongs to channel u;    Y = Σ Y_u, so ⟨Y_u, Y⟩ = A 1

Differs from the paper in: λ is found by bisection, and the problem is solved by FISTA (Beck and
Teboulle 2009). Contributions are not scaled to equal norm, so λ removes small ones first.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def contributions(
    weights: Float[Tensor, "groups outputs inputs"],
    gram: Float[Tensor, "groups inputs inputs"],
    unit: Int[Tensor, "groups inputs"],
    units: int,
) -> Float[Tensor, "units units"]:
    """A_uv = E⟨Y_u, Y_v⟩, summed over the outputs.

    Args:
        weights: W.
        gram: G = E[x xᵀ], or the covariance if the bias is free.
        unit: The channel that each input belongs to; −1 for none.
        units: Number of channels.
    """
    products = gram * (weights.mT @ weights)
    total = products.new_zeros(units, units)
    for product, index in zip(products, unit, strict=True):
        inside = index >= 0
        part = product[inside][:, inside]
        rows = part.new_zeros(units, part.shape[1]).index_add_(0, index[inside], part)
        total = total.index_add(1, index[inside], rows)
    return total


def lasso(
    gram: Float[Tensor, "units units"],
    penalty: float,
    start: Float[Tensor, " units"],
    steps: int = 300,
) -> Float[Tensor, " units"]:
    """Find β for one λ.

    Args:
        gram: A.
        penalty: λ.
        start: β to start from.
        steps: Steps of FISTA.
    """
    rate = 1 / torch.linalg.matrix_norm(gram, 2).clamp(min=torch.finfo(gram.dtype).tiny)
    target = gram.sum(1)
    beta = ahead = start
    momentum = 1.0
    for _ in range(steps):
        moved = ahead - rate * (gram @ ahead - target)
        new = moved.sign() * (moved.abs() - rate * penalty).clamp(min=0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - beta)
        beta, momentum = new, following
    return beta


def strongest(gram: Float[Tensor, "units units"], count: int) -> Float[Tensor, " units"]:
    """Find β for a λ that leaves `count` elements, or fewer if no λ leaves exactly that many.

    Args:
        gram: A.
        count: The number of elements that may differ from zero.
    """
    low, high = 0.0, float(gram.sum(1).abs().max())
    best = beta = torch.ones_like(gram[0])
    if count >= len(gram):
        return best
    best = torch.zeros_like(best)
    for _ in range(25):
        middle = (low + high) / 2
        beta = lasso(gram, middle, beta)
        left = int((beta != 0).sum())
        if left > count:
            low = middle
        else:
            high, best = middle, beta
        if left == count:
            break
    return best
