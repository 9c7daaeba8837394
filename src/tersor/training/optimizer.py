"""One optimizer with a rate for each weight, one for what does not decay, and one for quantizers.

    rate(W) = rate · ‖W‖ / √n        n: the number of values of W, when training begins

Adam moves every number by about its rate, whatever its gradient is. The weights of one network
differ in size by a factor of a hundred, so a single rate barely moves some and shakes others. A
rate in proportion to the size of the weight is the idea of LARS, arXiv 1708.03888, §4.

Differs from the paper in: the size is the initial one, and gradients are not used.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tersor.core.soft_rounding import annealed
from tersor.quant.lsq import learned_quantizers
from tersor.training.options import Training


def parameter_groups(
    module: nn.Module, options: Training, unit: Sequence[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """Group parameters for an optimizer.

    Weights with two axes or more decay. Biases, the parameters of norms and quantizers do not;
    quantizers have a learning rate of their own.

    Args:
        module: A network in training.
        options: The learning rates and the decay.
        unit: Parameters that are treated as of size 1 and do not decay: gates.
    """
    quantizers = [p for _, q in learned_quantizers(module) for p in q.parameters()]
    own = {id(p) for p in (*quantizers, *unit)}
    others = [p for p in module.parameters() if id(p) not in own and p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p], "lr": options.highest_rate * _size(p), "weight_decay": options.weight_decay}
        for p in others
        if p.ndim > 1
    ]
    rest = [p for p in others if p.ndim <= 1]
    groups += [
        {"params": rest, "lr": options.bias_rate, "weight_decay": 0.0},
        {"params": [*unit], "lr": options.highest_rate, "weight_decay": 0.0},
        {"params": quantizers, "lr": options.quantizer_rate, "weight_decay": 0.0},
    ]
    return [{**group, "highest": group["lr"]} for group in groups if group["params"]]


def _size(weight: Tensor) -> float:
    """‖W‖ / √n; 1 for a weight of zeros, which could not move otherwise."""
    return float(weight.detach().double().square().mean().sqrt()) or 1.0


def rate_at(progress: float, warm_up: float) -> float:
    """The share of the highest rate: up linearly, then down to 0 along half a cosine.

    Args:
        progress: From 0 to 1.
        warm_up: Progress at which the linear part ends.
    """
    if progress < warm_up:
        return progress / warm_up
    return annealed((progress - warm_up) / (1 - warm_up), 1.0, 0.0)


def total_rate(updates: int, warm_up: float) -> float:
    """The sum of `rate_at` over a whole training.

    Args:
        updates: Number of its steps.
        warm_up: See `rate_at`.
    """
    return sum(rate_at((update + 0.5) / updates, warm_up) for update in range(updates))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group this share of its highest rate.

    Args:
        optimizer: An optimizer created with `parameter_groups`.
        factor: The share.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * factor
