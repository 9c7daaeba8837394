"""The importance of a channel: what is lost if it is removed.

    magnitude    √ Σ_l ‖W_lu‖² / mean_v ‖W_lv‖²       Li et al., arXiv 1608.08710, §3.1
    BatchNorm    |γ_u|                                Liu et al., arXiv 1708.06519, §3
    Taylor       E|∂L/∂g_u|                           Molchanov et al., arXiv 1611.06440, eqs. 7-8
    Fisher       ½ E(∂L/∂g_u)²                        Theis et al., arXiv 1801.05787

g_u is a gate of value 1 on a channel: ∂L/∂g is the sum of activation times gradient over the
positions of one sample. Removing the channel sets its gate to 0. To first order this changes the
loss by −∂L/∂g; to second order, with the Fisher information as the Hessian, by ½ E(∂L/∂g)².

Without labels, L = v·f(x), where v has random signs. Then E(∂L/∂g)² = Σ_k (∂f_k/∂g)², and the
Fisher score is half the squared error of the outputs f, to second order.

Differs from the papers in: if several layers l write and read a channel, it has a single score. Its
magnitude takes all their weights into account, with L2 instead of L1, and the gates are on the
inputs of the layers that read it. Sums over the positions are not divided by their number.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def magnitude(squares: Float[Tensor, "weights units"]) -> Float[Tensor, " units"]:
    """√ Σ_l ‖W_lu‖² / mean_v ‖W_lv‖², which does not depend on the scale of a layer.

    Args:
        squares: ‖W_lu‖², for each weight l that writes or reads the units.
    """
    tiny = torch.finfo(squares.dtype).tiny
    return (squares / squares.mean(1, keepdim=True).clamp(min=tiny)).sum(0).sqrt()


def taylor(gradients: Float[Tensor, "samples units"]) -> Float[Tensor, " units"]:
    """E|∂L/∂g|.

    Args:
        gradients: ∂L/∂g of each sample.
    """
    return gradients.abs().mean(0)


def fisher(gradients: Float[Tensor, "samples units"]) -> Float[Tensor, " units"]:
    """½ E(∂L/∂g)².

    Args:
        gradients: ∂L/∂g of each sample.
    """
    return gradients.square().mean(0) / 2


def signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw random signs v, in the shape of an output."""
    drawn = torch.randint(2, like.shape, generator=generator)
    return (2 * drawn - 1).to(like)
