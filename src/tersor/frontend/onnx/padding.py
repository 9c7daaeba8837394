"""The windows of convolutions and pools: `pads`, `auto_pad`, strides and dilations."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.node import Node


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
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def is_symmetric(self) -> bool:
        """Whether there is as much padding before as after."""
        return self.before == self.after

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Pad the input explicitly."""
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        flat = [size for pair in pairs for size in pair]
        return F.pad(x, flat, value=value) if any(flat) else x


def windows(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> Windows:
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
            max((-(-size // step) - 1) * step + (k - 1) * gap + 1 - size, 0)
            for size, step, k, gap in zip(sizes, stride, kernel, dilation, strict=True)
        ]
        small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
    _check(dims, (tuple(kernel), stride, dilation, before, after))
    return Windows(tuple(kernel), stride, dilation, before, after)


def _check(dims: int, parts: tuple[tuple[int, ...], ...]) -> None:
    kernel, stride, dilation, *_ = parts
    if any(len(part) != dims for part in parts) or min((*kernel, *stride, *dilation)) < 1:
        raise ValueError(
            f"{dims} spatial axes, but kernel, strides, dilations and pads are {parts}"
        )
