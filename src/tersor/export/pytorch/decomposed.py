"""A quantized network in PyTorch's own form: `quantized_decomposed` calls around ops in float.

    dequantize_per_tensor → op → quantize_per_tensor

Inductor and the backends of ExecuTorch look for this pattern, and replace it by a kernel on
integers. The graph computes what the simulation computes.
Ops: torch/ao/quantization/fx/_decomposed.py.
"""

from collections.abc import Collection, Iterator
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # defines torch.ops.quantized_decomposed
from torch import Tensor, fx

from tersor.core.affine import dequantize
from tersor.errors import UnsupportedError
from tersor.export.onnx.lower import Lowered, lower
from tersor.export.pytorch.decomposed_rows import DEQUANTIZE_ROWS, decomposed_rows
from tersor.graph.network import Network
from tersor.graph.nodes import argument, operand
from tersor.graph.ops import WEIGHTED

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed

QUANTIZE = ops.quantize_per_tensor.default
DEQUANTIZE = ops.dequantize_per_tensor.default
DEQUANTIZE_CHANNELS = ops.dequantize_per_channel.default
LIMITS = {torch.int8: (-128, 127), torch.uint8: (0, 255)}  # of activations
_FEW = 4  # bits of weights for which there are kernels of their own, beside rows
_Grid = tuple[float, int, int, int, torch.dtype]
_OURS = (torch.ops.tersor.quantize_linear.default, torch.ops.tersor.dequantize_linear.default)


def decomposed(network: Network, types: Collection[torch.dtype] = (*LIMITS,)) -> Network:
    """Copy a network, with `quantized_decomposed` calls instead of quantizers.

    Args:
        network: A network with or without quantizers.
        types: Integers that activations may have.

    Returns:
        The copy, in inference mode. Biases stay float, on the grid of the accumulator, to which
        kernels round them again.

    Raises:
        UnsupportedError: An activation is not quantized to such integers per tensor, or a weight is
            not quantized to signed integers of up to 8 bits.
    """
    lowered = lower(decomposed_rows(network), integer_clip=False)
    found = lowered.network
    with torch.no_grad():
        for node in found.nodes():
            if node.target in _OURS:
                node.replace_all_uses_with(_translated(lowered, node, types))
    found.finish()
    return found


def _translated(lowered: Lowered, node: fx.Node, types: Collection[torch.dtype]) -> fx.Node:
    network = lowered.network
    source, scale, zero, axis = node.args
    assert isinstance(source, fx.Node)
    assert isinstance(scale, fx.Node)
    steps = network.tensor(scale)
    offsets = network.tensor(zero) if isinstance(zero, fx.Node) else torch.zeros_like(steps)
    if node.target is _OURS[0]:
        return _quantize(node, source, _grid(node, steps, offsets, types))
    if source.target is aten.embedding.default and steps.numel() > 1:
        return _rows_found(node, source, scale, offsets)
    if source.op != "get_attr":
        return call(node, DEQUANTIZE, source, *_grid(node, steps, offsets, types))
    stored = network.tensor(source)
    if stored.dtype == torch.int32:
        value = dequantize(stored.to(steps.dtype), steps, offsets.to(steps.dtype), _axis(axis))
        return network.add_tensor(f"{source.target}_value", value, before=node)
    if stored.dtype != torch.int8:
        raise UnsupportedError(
            f"{str(source.target)!r} is stored as {stored.dtype}; kernels of PyTorch compute with "
            "int8 weights, so give these weights 8 bits or fewer"
        )
    if steps.numel() == 1:
        return call(node, DEQUANTIZE, source, *_grid(node, steps, offsets.to(stored.dtype)))
    zeros = network.add_tensor(f"{scale.target}_zeros", offsets.long(), before=node)
    limits = LIMITS[torch.int8]
    if lowered.grids[str(source.target)].bits <= _FEW and _reads_rows(node):
        limits = (-(2 ** (_FEW - 1)), 2 ** (_FEW - 1) - 1)  # so that two share a byte
    return call(node, DEQUANTIZE_CHANNELS, source, scale, zeros, axis, *limits, torch.int8)


def _rows_found(node: fx.Node, rows: fx.Node, scale: fx.Node, offsets: Tensor) -> fx.Node:
    """Rows of a table as floats: one scale per column, and no zero points."""
    assert not bool(offsets.any())
    floats = call(node, aten._to_copy.default, rows, dtype=torch.float32)
    return call(node, aten.mul.Tensor, floats, scale)


def _reads_rows(weight: fx.Node) -> bool:
    """Whether all layers that read a weight read rows with ranges of their own beside it."""
    return all(operand(layer).target is DEQUANTIZE_ROWS for layer in weight.users)


def _axis(axis: object) -> int | None:
    return axis if isinstance(axis, int) else None


def _quantize(node: fx.Node, source: fx.Node, grid: _Grid) -> fx.Node:
    if {reader.target for reader in node.users} - {_OURS[1]}:
        raise UnsupportedError(
            f"{source.name!r} is quantized to fewer than 8 bits, and kernels of PyTorch compute "
            "with 8; give activations 8 bits, or write an ONNX file"
        )
    return call(node, QUANTIZE, source, *grid)


def _grid(
    node: fx.Node,
    steps: Tensor,
    offsets: Tensor,
    types: Collection[torch.dtype] = (torch.int8,),
) -> _Grid:
    if steps.numel() != 1:
        raise UnsupportedError(
            f"{node.name!r} has {steps.numel()} scales; kernels of PyTorch have one scale for an "
            "activation, so quantize it per tensor"
        )
    if offsets.dtype not in types:
        known = " or ".join(str(dtype).removeprefix("torch.") for dtype in types)
        raise UnsupportedError(
            f"{node.args[0]} is quantized to {offsets.dtype}; the kernels that read it take {known}"
            ", so quantize with scheme='executorch-xnnpack' and 8 bits"
        )
    return float(steps), int(offsets), *LIMITS[offsets.dtype], offsets.dtype


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


def weights(network: Network) -> Iterator[tuple[fx.Node, bool]]:
    """Find the stored weight of each layer, and whether it is read as integers.

    Args:
        network: What `decomposed` returned.
    """
    for node in network.nodes():
        if node.target in WEIGHTED:
            weight = argument(node, "weight")
            is_integer = weight.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS)
            weight = weight.args[0] if is_integer else weight
            if weight.op == "get_attr":
                yield weight, is_integer
