"""Rows that are rounded to ranges of their own, which are found when they are there.

    low_r  = min(min x_r, 0),   high_r = max(max x_r, 0)
    s_r    = (high_r − low_r) / (qmax − qmin)
    z_r    = round(qmin − low_r / s_r)
    x̂_r    = (clamp(round(x_r / s_r) + z_r, qmin, qmax) − z_r) · s_r

Per-token quantization, as in ZeroQuant, arXiv 2206.01861, §4.2. Runtimes call it dynamic.
Differs from the paper in: the grid is asymmetric, as that of the kernels is.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tersor.core.affine import fake_quantize
from tersor.core.grid import Grid
from tersor.core.ranges import SMALLEST_SCALE


def fake_quantize_rows(x: Float[Tensor, "*rows width"], grid: Grid) -> Float[Tensor, "*rows width"]:
    """Round each row of `x` to the grid that spans its own values.

    Args:
        x: Real values. A row lies along the last axis. A row with NaN or infinity has no range,
            and all of it becomes NaN.
        grid: Allowed integers.
    """
    rows = x.reshape(-1, x.shape[-1])
    low, high = (end.squeeze(1) for end in (rows.amin(1, True), rows.amax(1, True)))
    low, high = low.clamp(max=0), high.clamp(min=0)
    smallest = max(SMALLEST_SCALE, torch.finfo(x.dtype).tiny)
    scale = ((high - low) / grid.steps).clamp(min=smallest)
    zero_point = torch.round(grid.qmin - low / scale).clamp(grid.qmin, grid.qmax)
    return fake_quantize(rows, scale, zero_point, grid, axis=0).reshape(x.shape)
