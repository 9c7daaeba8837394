"""Activation functions."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tersor.frontend.onnx.node import Node, Op


def _elu(node: Node, x: Tensor) -> Tensor:
    return F.elu(x, node.get("alpha", 1.0))


def _celu(node: Node, x: Tensor) -> Tensor:
    return F.celu(x, node.get("alpha", 1.0))


def _selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = (
        node.get("alpha", 1.67326319217681884765625),
        node.get("gamma", 1.05070102214813232421875),
    )
    if abs(alpha - 1.6732632) < 1e-6 and abs(gamma - 1.050701) < 1e-6:
        return F.selu(x)
    return gamma * F.elu(x, alpha)


def _leaky_relu(node: Node, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.get("alpha", 0.01))


def _prelu(_: Node, x: Tensor, slope: Tensor) -> Tensor:
    """PReLU: PyTorch has one slope per channel; any other shape broadcasts from the right."""
    per_channel = slope.ndim == x.ndim - 1 and slope.numel() == slope.shape[0] and x.ndim > 1
    if slope.numel() == 1 or (per_channel and slope.shape[0] == x.shape[1]):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, slope * x, x)


def _thresholded_relu(node: Node, x: Tensor) -> Tensor:
    return torch.where(x > node.get("alpha", 1.0), x, 0.0)


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def _gelu(node: Node, x: Tensor) -> Tensor:
    approximate = node.get("approximate", "none")
    return F.gelu(x, approximate=approximate)


def _swish(node: Node, x: Tensor) -> Tensor:
    alpha = node.get("alpha", 1.0)
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


def _shrink(node: Node, x: Tensor) -> Tensor:
    bias, lambd = node.get("bias", 0.0), node.get("lambd", 0.5)
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, 0)).to(x.dtype)


def _softmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, torch.softmax)


def _log_softmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, torch.log_softmax)


def _along(node: Node, x: Tensor, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Apply a function along `axis`; before opset 13, along all axes from `axis` (default 1) on."""
    if node.opset >= 13:
        return function(x, node.get("axis", -1))
    axis = node.get("axis", 1) % max(x.ndim, 1)
    if axis == x.ndim - 1:
        return function(x, axis)
    return function(x.flatten(axis), axis).reshape(x.shape)


def _hardmax(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", -1 if node.opset >= 13 else 1)
    flat = x if node.opset >= 13 else x.flatten(axis)
    best = flat.argmax(axis, keepdim=True)
    return torch.zeros_like(flat).scatter(axis, best, 1).reshape(x.shape)


OPS = {
    "Relu": Op(lambda _, x: F.relu(x)),
    "Sigmoid": Op(lambda _, x: torch.sigmoid(x)),
    "Tanh": Op(lambda _, x: torch.tanh(x)),
    "Elu": Op(_elu),
    "Celu": Op(_celu),
    "Selu": Op(_selu),
    "LeakyRelu": Op(_leaky_relu),
    "PRelu": Op(_prelu),
    "ThresholdedRelu": Op(_thresholded_relu),
    "HardSigmoid": Op(_hard_sigmoid),
    "HardSwish": Op(lambda _, x: F.hardswish(x)),
    "Mish": Op(lambda _, x: F.mish(x)),
    "Gelu": Op(_gelu),
    "Swish": Op(_swish),
    "Softplus": Op(lambda _, x: F.softplus(x)),
    "Softsign": Op(lambda _, x: F.softsign(x)),
    "Shrink": Op(_shrink),
    "Softmax": Op(_softmax),
    "LogSoftmax": Op(_log_softmax),
    "Hardmax": Op(_hardmax),
}
