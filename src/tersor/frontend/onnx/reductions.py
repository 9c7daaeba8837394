"""Sums, means and extremes over axes, and running sums."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.frontend.onnx.movement import numbers
from tersor.frontend.onnx.node import Node, Op


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Op:
    """Reduce over the axes of the attribute or the input, or over all if there are none."""

    def run(node: Node, x: Tensor, axes: np.ndarray | None = None) -> Tensor:
        chosen = numbers(node, "axes", axes, [])
        if not chosen and node.get("noop_with_empty_axes", 0):
            return function(x.unsqueeze(0), [0], False)
        if not chosen:
            chosen = list(range(x.ndim))
        if not chosen:  # a single number
            return function(x.reshape(1), [0], False)
        y = function(x, [axis % x.ndim for axis in chosen], bool(node.get("keepdims", 1)))
        return y.to(x.dtype)

    return Op(run, known=(1,))


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _extreme(function: Callable[..., Tensor], identity: float) -> Callable[..., Tensor]:
    def extreme(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if any(x.shape[axis] == 0 for axis in axes):
            shape = [1 if a in axes else size for a, size in enumerate(x.shape)]
            y = torch.full(shape, _limit(x.dtype, identity), dtype=x.dtype, device=x.device)
            return y if keep else y.squeeze(tuple(axes))
        return function(x, axes, keepdim=keep)

    return extreme


def _limit(dtype: torch.dtype, identity: float) -> Any:
    if dtype.is_floating_point:
        return identity
    if dtype == torch.bool:
        return identity > 0
    info = torch.iinfo(dtype)
    return info.max if identity > 0 else info.min


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.log(_real(x).sum(axes, keepdim=keep))


def _real(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(torch.float64)


def _cumulative_sum(node: Node, x: Tensor, axis: np.ndarray) -> Tensor:
    along = int(axis.ravel()[0]) % x.ndim
    x = x.flip(along) if node.get("reverse", 0) else x
    y = torch.cumsum(x, along, dtype=x.dtype)
    y = y - x if node.get("exclusive", 0) else y
    return y.flip(along) if node.get("reverse", 0) else y


OPS = {
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: _real(x).mean(axes, keepdim=keep)),
    "ReduceMax": _reduction(_extreme(torch.amax, float("-inf"))),
    "ReduceMin": _reduction(_extreme(torch.amin, float("inf"))),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, a, keep: _real(x).square().sum(a, keepdim=keep).sqrt()),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ReduceLogSum": _reduction(_log_sum),
    "ReduceLogSumExp": _reduction(lambda x, a, keep: torch.logsumexp(_real(x), a, keepdim=keep)),
    "CumSum": Op(_cumulative_sum, known=(1,)),
}
