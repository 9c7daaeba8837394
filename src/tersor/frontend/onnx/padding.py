"""The windows of convolutions and pools: `pads`, `auto_pad`, strides and dilations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.node import Node

Size = Any  # int, or torch.SymInt where an axis is open


@dataclass(frozen=True)
class Windows:
    """The geometry of sliding windows, with one entry per spatial axis.

    Attributes:
        kernel: Sizes.
        stride: Steps.
        dilation: Steps inside a window.
        before: Padding before the first element.
        after: Padding after the last element.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[Size, ...]
    after: tuple[Size, ...]

    @property
    def is_symmetric(self) -> bool:
        """Whether there is as much padding before as after, at any size of the input."""
        is_open = any(isinstance(size, torch.SymInt) for size in (*self.before, *self.after))
        return not is_open and self.before == self.after

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Pad the input explicitly."""
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        flat = [size for pair in pairs for size in pair]
        is_padded = any(isinstance(size, torch.SymInt) or size for size in flat)
        return F.pad(x, flat, value=value) if is_padded else x  # type: ignore[arg-type]


def windows(node: Node, sizes: Sequence[Size], kernel: Sequence[int]) -> Windows:
    """Compute the windows of a node.

    Args:
        node: A convolution or a pool.
        sizes: Spatial sizes of the input.
        kernel: Sizes of a window.
    """
    dims = len(sizes)
    stride = tuple(node.get("strides") or [1] * dims)
    dilation = tuple(node.get("dilations") or [1] * dims)
    pads = tuple(node.get("pads") or [0] * 2 * dims)
    before, after = pads[:dims], pads[dims:]
    mode = node.get("auto_pad", "NOTSET")
    if mode == "VALID":
        before = after = (0,) * dims
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            _at_least_zero((size - 1) // step * step + (k - 1) * gap + 1 - size)
            for size, step, k, gap in zip(sizes, stride, kernel, dilation, strict=True)
        ]
        small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
    _check(dims, (tuple(kernel), stride, dilation, before, after))
    return Windows(tuple(kernel), stride, dilation, before, after)


def _at_least_zero(size: Size) -> Size:
    """The size, or 0 if it is negative; a number if it is the same at any size of the input."""
    if isinstance(size, torch.SymInt):
        known = size.node.maybe_as_int()
        return torch.sym_max(size, 0) if known is None else max(known, 0)
    return max(size, 0)


def _check(dims: int, parts: tuple[tuple[Size, ...], ...]) -> None:
    kernel, stride, dilation, *_ = parts
    if any(len(part) != dims for part in parts) or min((*kernel, *stride, *dilation)) < 1:
        raise ValueError(
            f"{dims} spatial axes, but kernel, strides, dilations and pads are {parts}"
        )
