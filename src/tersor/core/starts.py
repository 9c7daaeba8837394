"""The starting values of learned steps: ranges from the moments of the values.

    mean ± 3σ   s = max(|μ − 3σ|, |μ + 3σ|) / 2^(b−1)      LSQ+, arXiv 2004.09576, §3.3
    mean |v|    s = 2 · mean|v| / √p                       LSQ, arXiv 1902.08153, §2.1

Both are given as the range `(low, high)` that the grid then spans with this step.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.grid import Grid
from tersor.core.ranges import channel_rows


def sigma_range(
    x: Float[Tensor, "*shape"], grid: Grid, axis: int | None = None
) -> tuple[Float[Tensor, "*channels"], Float[Tensor, "*channels"]]:
    """The range of a signed grid with s = max(|μ − 3σ|, |μ + 3σ|) / 2^(b−1).

    Args:
        x: Weights.
        grid: Integers to map to.
        axis: Channel axis, or None for the whole tensor.
    """
    rows = channel_rows(x, axis)
    mean, spread = rows.mean(1), 3 * rows.std(1, correction=0)
    step = torch.maximum((mean - spread).abs(), (mean + spread).abs()) / 2 ** (grid.bits - 1)
    return _spanned(step, grid, axis)


def mean_range(
    x: Float[Tensor, "*shape"], grid: Grid, axis: int | None = None
) -> tuple[Float[Tensor, "*channels"], Float[Tensor, "*channels"]]:
    """The range of a grid with s = 2 · mean|v| / √p.

    Args:
        x: Values.
        grid: Integers to map to.
        axis: Channel axis, or None for the whole tensor.
    """
    return _spanned(mean_step(channel_rows(x, axis).abs().mean(1), grid), grid, axis)


def mean_step(mean: Float[Tensor, "*channels"], grid: Grid) -> Float[Tensor, "*channels"]:
    """s = 2 · mean|v| / √p.

    Args:
        mean: The mean of |v|.
        grid: Its largest integer is p.
    """
    return 2 * mean / grid.qmax**0.5


def _spanned(step: Tensor, grid: Grid, axis: int | None) -> tuple[Tensor, Tensor]:
    low, high = step * grid.qmin, step * grid.qmax
    return (low[0], high[0]) if axis is None else (low, high)
