"""Convolutions, linear layers and matrix products."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.node import Node, Op
from tersor.frontend.onnx.padding import windows

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = x.ndim - 2
    if dims not in _CONVOLUTIONS:
        raise node.refuse(f"convolves over {dims} axes, not over 1, 2 or 3")
    w = windows(node, x.shape[2:], weight.shape[2:])
    padding = w.before
    if not w.is_symmetric:
        x, padding = w.pad(x), (0,) * dims
    groups = node.get("group", 1)
    return _CONVOLUTIONS[dims](x, weight, bias, w.stride, padding, w.dilation, groups)


def _conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = x.ndim - 2
    if dims not in _TRANSPOSED:
        raise node.refuse(f"convolves over {dims} axes, not over 1, 2 or 3")
    plain = Node(node.op, node.name, (), (), {**node.attributes, "auto_pad": "VALID"}, node.opset)
    w = windows(plain, x.shape[2:], weight.shape[2:])
    extra = tuple(node.get("output_padding") or [0] * dims)
    full = [
        (size - 1) * step + (k - 1) * gap + 1 + more
        for size, step, k, gap, more in zip(
            x.shape[2:], w.stride, w.kernel, w.dilation, extra, strict=True
        )
    ]
    before, after = _cropped(node, x, w.stride, full)
    if any(size < 0 for size in (*before, *after)):
        raise node.refuse("asks for an output larger than that of the transposed convolution")
    call = _TRANSPOSED[dims]
    groups = node.get("group", 1)
    if before == after and _fits(extra, w.stride, w.dilation):
        return call(x, weight, bias, w.stride, before, extra, groups, w.dilation)
    if not _fits(extra, w.stride, w.dilation):
        raise node.refuse(
            f"has output_padding {extra}, which must be smaller than the stride or the dilation"
        )
    y = call(x, weight, bias, w.stride, (0,) * dims, extra, groups, w.dilation)
    for axis, (start, end, size) in enumerate(zip(before, after, full, strict=True)):
        y = y.narrow(2 + axis, start, size - start - end)
    return y


def _fits(extra: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether PyTorch supports an output padding: only below the stride or the dilation."""
    return all(e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True))


def _cropped(
    node: Node, x: Tensor, stride: tuple[int, ...], full: list[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many elements are cut from the start and the end of each axis of the full result."""
    dims = len(full)
    mode, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * step for size, step in zip(x.shape[2:], stride, strict=True)]
    if wanted is None:
        pads = tuple(node.get("pads") or [0] * 2 * dims)
        pads = (0,) * 2 * dims if mode == "VALID" else pads
        return pads[:dims], pads[dims:]
    total = [have - want for have, want in zip(full, wanted[-dims:], strict=True)]
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if node.get("transA", 0) else a
    b = b.t() if node.get("transB", 0) else b
    y = torch.matmul(a, b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    y = y if alpha == 1 else (alpha * y).to(y.dtype)
    if c is None:
        return y
    return y + (c if beta == 1 else (beta * c).to(y.dtype))


def _linear(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply with a stored matrix; `tersor.frontend.onnx.linear` wrote this node."""
    y = F.linear(x.t() if node.get("transA", 0) else x, weight, bias)
    missing = node.get("axes", 0) - y.ndim  # those of what is added, beyond those of the product
    return y if missing <= 0 else y.reshape(*[1] * missing, *y.shape)


def _einsum(node: Node, *inputs: Tensor) -> Tensor:
    return torch.einsum(_text(node.get("equation", "")), *inputs)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


OPS = {
    "Conv": Op(_conv),
    "ConvTranspose": Op(_conv_transpose),
    "Gemm": Op(_gemm),
    "MatMul": Op(lambda _, x, y: torch.matmul(x, y)),
    "tersor.Linear": Op(_linear),
    "Einsum": Op(_einsum),
}
