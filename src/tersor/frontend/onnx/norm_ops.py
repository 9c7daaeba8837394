"""Normalization layers, and dropout, in inference."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.node import Node, Op


def _batch_norm(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
) -> Tensor:
    if node.get("training_mode", 0) or node.wants(1):
        raise node.refuse("is in training mode; export the model in eval mode")
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, node.get("epsilon", 1e-5))


def _layer_norm(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor | tuple[Tensor, ...]:
    eps = node.get("epsilon", 1e-5)
    axis = node.get("axis", -1) % x.ndim
    shape = list(x.shape[axis:])
    if list(scale.shape) == shape and (bias is None or bias.shape == scale.shape):
        y = F.layer_norm(x, shape, scale, bias, eps)
    else:
        y = F.layer_norm(x, shape, None, None, eps) * scale
        y = y if bias is None else y + bias
    if not (node.wants(1) or node.wants(2)):
        return y
    axes = tuple(range(axis, x.ndim))
    var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return y, mean, torch.rsqrt(var + eps)


def _rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    axis = node.get("axis", -1) % x.ndim
    axes = tuple(range(axis, x.ndim))
    square = x.square().mean(axes, keepdim=True)
    return x * torch.rsqrt(square + node.get("epsilon", 1e-5)) * scale


def _instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """GroupNorm: from opset 21 on, scale and bias are per channel; before, they are per group."""
    groups, eps = node.get("num_groups", 1), node.get("epsilon", 1e-5)
    if scale.shape[0] != x.shape[1]:
        scale = scale.repeat_interleave(x.shape[1] // groups)
        bias = bias.repeat_interleave(x.shape[1] // groups)
    return F.group_norm(x, groups, scale, bias, eps)


def _mean_variance(node: Node, x: Tensor) -> Tensor:
    var, mean = torch.var_mean(x, node.get("axes", (0, 2, 3)), correction=0, keepdim=True)
    return (x - mean) / (var.sqrt() + 1e-9)


def _lp_norm(node: Node, x: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(x, node.get("p", 2), node.get("axis", -1), keepdim=True)
    return torch.where(size == 0, 0, x / size)


def _lrn(node: Node, x: Tensor) -> Tensor:
    size = node.get("size", 1)
    if size % 2 == 0:
        raise node.refuse(f"has the even size {size}, whose centre PyTorch places differently")
    alpha, beta, bias = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    return F.local_response_norm(x, size, alpha, beta, bias)


def _dropout(node: Node, x: Tensor, _ratio: Any = None, training: Any = None) -> Any:
    if training is not None and bool(training):
        raise node.refuse("is in training mode; export the model in eval mode")
    return (x, torch.ones_like(x, dtype=torch.bool)) if node.wants(1) else x


OPS = {
    "BatchNormalization": Op(_batch_norm, statistics=(3, 4)),
    "LayerNormalization": Op(_layer_norm),
    "RMSNormalization": Op(_rms_norm),
    "InstanceNormalization": Op(_instance_norm),
    "GroupNormalization": Op(_group_norm),
    "MeanVarianceNormalization": Op(_mean_variance),
    "LpNormalization": Op(_lp_norm),
    "LRN": Op(_lrn),
    "Dropout": Op(_dropout, known=(1, 2)),
}
