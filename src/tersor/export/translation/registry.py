"""PyTorch's translations of ops to ONNX, and its decompositions of those that have none."""

from collections.abc import Callable
from functools import cache
from typing import Any

from torch.onnx._internal.exporter import _decomp
from torch.onnx._internal.exporter._registration import ONNXRegistry


@cache
def registry(opset: int, custom: tuple[tuple[Any, Any], ...]) -> ONNXRegistry:
    """The translations into one version of the operator set.

    Args:
        opset: The version.
        custom: Further ops with their translations.
    """
    table = ONNXRegistry.from_torchlib(opset_version=opset)
    for op, function in custom:
        table.register_op(op, function)
    return table


@cache
def decompositions(table: ONNXRegistry) -> dict[Any, Callable[..., Any]]:
    """The decompositions of ops that have no translation.

    Args:
        table: The translations.
    """
    return _decomp.create_onnx_friendly_decomposition_table(
        set(_decomp.get_onnx_implemented_overloads(table))
    )
