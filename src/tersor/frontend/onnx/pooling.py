"""Pools: the maximum, mean and norm of sliding windows, and of whole images."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.node import Node, Op
from tersor.frontend.onnx.padding import Size, Windows, windows

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_GLOBAL_MEAN = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def _windows(node: Node, x: Tensor) -> Windows:
    if x.ndim - 2 not in _MAX:
        raise node.refuse(f"pools over {x.ndim - 2} axes, not over 1, 2 or 3")
    return windows(node, x.shape[2:], node.get("kernel_shape") or ())


def _torch_pads(w: Windows) -> bool:
    """Whether PyTorch supports the padding: the same on both sides, and at most half a window."""
    return w.is_symmetric and all(2 * p <= k for p, k in zip(w.before, w.kernel, strict=True))


def _max_pool(node: Node, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    w = _windows(node, x)
    if not x.is_floating_point():
        lifted = _max_pool(node, x.to(torch.float64))
        assert isinstance(lifted, Tensor)
        return lifted.to(x.dtype)
    if node.wants(1):
        return _max_pool_with_indices(node, x, w)
    is_ceil = bool(node.get("ceil_mode", 0))
    padding = w.before
    if not _torch_pads(w):
        x, padding = w.pad(x, float("-inf")), 0
    return _MAX[x.ndim - 2](x, w.kernel, w.stride, padding, w.dilation, is_ceil)


def _max_pool_with_indices(node: Node, x: Tensor, w: Windows) -> tuple[Tensor, Tensor]:
    """Max-pool with indices, which ONNX counts over the whole tensor, PyTorch within a channel."""
    if not _torch_pads(w):
        raise node.refuse(f"returns indices with pads {(*w.before, *w.after)}")
    is_ceil = bool(node.get("ceil_mode", 0))
    dims = x.ndim - 2
    y, inside = _MAX[dims](
        x, w.kernel, w.stride, w.before, w.dilation, is_ceil, return_indices=True
    )
    if node.get("storage_order", 0):
        if dims != 2:
            raise node.refuse("counts indices by columns, which is supported over two axes only")
        height, width = x.shape[2:]
        inside = (inside % width) * height + inside // width
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device) * prod(x.shape[2:])
    return y, inside + planes.reshape(x.shape[0], x.shape[1], *[1] * dims)


def _average_pool(node: Node, x: Tensor) -> Tensor:
    w = _windows(node, x)
    is_ceil, counts_pads = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    if _torch_pads(w) and set(w.dilation) == {1}:
        return _MEAN[x.ndim - 2](x, w.kernel, w.stride, w.before, is_ceil, counts_pads)
    grown = _with_ceil(w, x.shape[2:]) if is_ceil else w
    ones = torch.ones_like(x[:1, :1])
    if counts_pads:
        more = [a - b for a, b in zip(grown.after, w.after, strict=True)]
        rest = replace(grown, before=(0,) * len(more), after=tuple(more))
        count = _window_sums(w.pad(ones, 1.0), rest)
    else:
        count = _window_sums(ones, grown)
    return _window_sums(x, grown) / count


def _with_ceil(w: Windows, sizes: Sequence[Size]) -> Windows:
    """Pad more at the end, so that rounding down finds the windows that rounding up finds."""
    after = []
    for size, k, step, gap, front, back in zip(
        sizes, w.kernel, w.stride, w.dilation, w.before, w.after, strict=True
    ):
        span = (k - 1) * gap + 1
        count = -(-(size + front + back - span) // step) + 1
        if (count - 1) * step >= size + front:  # it would begin inside the padding
            count -= 1
        after.append(max((count - 1) * step + span - size - front, 0))
    return replace(w, after=tuple(after))


def _window_sums(x: Tensor, w: Windows) -> Tensor:
    dims = x.ndim - 2
    if set(w.dilation) == {1} and dims in _MEAN:  # a convolution would be taken for a layer
        return _MEAN[dims](w.pad(x), w.kernel, w.stride) * prod(w.kernel)
    kernel = torch.ones(1, 1, *w.kernel, dtype=x.dtype, device=x.device)
    planes = w.pad(x).flatten(0, 1).unsqueeze(1)
    sums = _CONVOLUTIONS[dims](planes, kernel, None, w.stride, 0, w.dilation)
    return sums.reshape(x.shape[0], x.shape[1], *sums.shape[2:])


def _lp_pool(node: Node, x: Tensor) -> Tensor:
    w, p = _windows(node, x), node.get("p", 2)
    grown = _with_ceil(w, x.shape[2:]) if node.get("ceil_mode", 0) else w
    return _window_sums(x.abs().pow(p), grown).pow(1 / p)


def _global_average_pool(_: Node, x: Tensor) -> Tensor:
    dims = x.ndim - 2
    if dims in _GLOBAL_MEAN:
        return _GLOBAL_MEAN[dims](x, 1)
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def _global_lp_pool(node: Node, x: Tensor) -> Tensor:
    p = node.get("p", 2)
    return x.abs().pow(p).sum(tuple(range(2, x.ndim)), keepdim=True).pow(1 / p)


OPS = {
    "MaxPool": Op(_max_pool),
    "AveragePool": Op(_average_pool),
    "LpPool": Op(_lp_pool),
    "GlobalAveragePool": Op(_global_average_pool),
    "GlobalMaxPool": Op(lambda _, x: x.amax(tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalLpPool": Op(_global_lp_pool),
}
