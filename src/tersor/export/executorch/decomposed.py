"""A quantized network in PyTorch's own form: `quantized_decomposed` calls around ops in float.

    dequantize_per_tensor → op → quantize_per_tensor

Backends of ExecuTorch look for this pattern, and replace it by a kernel on integers. The graph
computes what the simulation computes. Ops: torch/ao/quantization/fx/_decomposed.py.
"""

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # defines torch.ops.quantized_decomposed
from torch import Tensor, fx

from tersor.core.affine import dequantize
from tersor.errors import UnsupportedError
from tersor.export.lower import lower
from tersor.graph.network import Network

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed

QUANTIZE = ops.quantize_per_tensor.default
DEQUANTIZE = ops.dequantize_per_tensor.default
DEQUANTIZE_CHANNELS = ops.dequantize_per_channel.default
_OURS = (torch.ops.tersor.quantize_linear.default, torch.ops.tersor.dequantize_linear.default)


def decomposed(network: Network) -> Network:
    """Copy a network, with `quantized_decomposed` calls instead of quantizers.

    Args:
        network: A network with or without quantizers.

    Returns:
        The copy, in inference mode. Biases stay float, on the grid of the accumulator, to which
        XNNPACK rounds them again.

    Raises:
        UnsupportedError: An activation is not quantized to signed 8-bit integers per tensor, or a
            weight is not quantized to signed integers of up to 8 bits.
    """
    found = lower(network, integer_clip=False).network
    with torch.no_grad():
        for node in found.nodes():
            if node.target in _OURS:
                node.replace_all_uses_with(_translated(found, node))
    found.finish()
    return found


def _translated(network: Network, node: fx.Node) -> fx.Node:
    source, scale, zero, axis = node.args
    assert isinstance(source, fx.Node)
    assert isinstance(scale, fx.Node)
    steps = network.tensor(scale)
    offsets = network.tensor(zero) if isinstance(zero, fx.Node) else torch.zeros_like(steps)
    if node.target is _OURS[0]:
        return _quantize(node, source, steps, offsets)
    if source.op != "get_attr":
        return call(node, DEQUANTIZE, source, *_per_tensor(node, steps, offsets))
    stored = network.tensor(source)
    if stored.dtype == torch.int32:
        value = dequantize(stored.to(steps.dtype), steps, offsets.to(steps.dtype), _axis(axis))
        return network.add_tensor(f"{source.target}_value", value, before=node)
    if stored.dtype != torch.int8:
        raise UnsupportedError(
            f"{str(source.target)!r} is stored as {stored.dtype}; ExecuTorch's XNNPACK computes "
            "with int8 weights, so quantize with scheme='executorch-xnnpack'"
        )
    if steps.numel() == 1:
        return call(node, DEQUANTIZE, source, *_per_tensor(node, steps, offsets))
    zeros = network.add_tensor(f"{scale.target}_zeros", offsets.long(), before=node)
    return call(node, DEQUANTIZE_CHANNELS, source, scale, zeros, axis, -128, 127, torch.int8)


def _axis(axis: object) -> int | None:
    return axis if isinstance(axis, int) else None


def _quantize(node: fx.Node, source: fx.Node, steps: Tensor, offsets: Tensor) -> fx.Node:
    readers = {reader.target for reader in node.users}
    if offsets.dtype != torch.int8 or readers - {_OURS[1]}:
        raise UnsupportedError(
            f"{source.name!r} is not quantized to signed 8-bit integers; ExecuTorch's XNNPACK "
            "computes with nothing else, so quantize with scheme='executorch-xnnpack' and 8 bits"
        )
    return call(node, QUANTIZE, source, *_per_tensor(node, steps, offsets))


def _per_tensor(
    node: fx.Node, steps: Tensor, offsets: Tensor
) -> tuple[float, int, int, int, torch.dtype]:
    if steps.numel() != 1:
        raise UnsupportedError(
            f"{node.name!r} has {steps.numel()} scales; ExecuTorch's XNNPACK has one scale for an "
            "activation, so quantize with scheme='executorch-xnnpack'"
        )
    return float(steps), int(offsets), -128, 127, torch.int8


def call(before: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """Insert a call in front of a node.

    Args:
        before: The node.
        target: The op.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """
    with before.graph.inserting_before(before):
        return before.graph.call_function(target, args, kwargs)
